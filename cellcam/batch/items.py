"""Run the items of a plan: each is a function from inputs to files that can be repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cellcam.batch.executors import (
    end_broken_process,
    is_killed_worker,
    is_lost_scheduler,
    lost,
)
from cellcam.batch.huge_images import run_block
from cellcam.batch.job import Job
from cellcam.batch.plan import Item, image_by_image
from cellcam.batch.progress import running_path
from cellcam.batch.records import Outcome, Record, disk_full_stops, outcome_of, record_path
from cellcam.batch.whole_images import run_images
from cellcam.errors import StoppedError
from cellcam.models.device import give_back_memory
from cellcam.versions import software_version

# Items submitted before the first is done: enough to keep any cluster busy, and few enough that
# the driver's memory does not grow with the number of images.
_AHEAD = 1000
_LOOK_FOR_INTERRUPTS_S = 0.5


@dataclass(frozen=True)
class ItemResult:
    """The few numbers about an item that travel to the driver; everything else is on disk.

    Attributes
    ----------
    done : its images, or 1 for a block
    cells : found in them
    failed : images without a result
    """

    key: str
    done: int
    cells: int
    failed: int


def run_item(item: Item, job: Job, planned_by: str) -> ItemResult:
    """Do one piece of work; the same item always writes the same files, and once.

    Parameters
    ----------
    planned_by : software that made the plan

    Raises
    ------
    StoppedError
        If the disk is full, this process runs other software than the one that planned, or its
        GPU is in an error state.
    """
    if (software := software_version(job.engine)) != planned_by:
        raise StoppedError(
            f"A worker runs {software}; the plan was made by {planned_by}. Install the "
            "same versions everywhere and restart the workers."
        )
    path = record_path(job.out, item.key)
    done = Record.read(path)
    if done is not None and done.complete(job.out):
        # Dask repeats the items that a worker had done before it died. Their files must stay: the
        # driver may be reading them already.
        return _result_of(done)
    with disk_full_stops(), _marked_as_running(item, job):
        outcomes, files = _work_on(item, job)
        sizes = tuple((path.relative_to(job.out).as_posix(), path.stat().st_size) for path in files)
        record = Record(item.key, tuple(outcomes), sizes)
        record.write(path)
    give_back_memory()
    return _result_of(record)


def _work_on(item: Item, job: Job) -> tuple[list[Outcome], list[Path]]:
    try:
        if item.block is None:
            return run_images(item.images, job)
        return run_block(item.key, item.images[0], item.block, job)
    except Exception as error:
        end_broken_process(error)
        raise


def _result_of(record: Record) -> ItemResult:
    outcomes = record.outcomes
    failed = sum(outcome.status != "done" for outcome in outcomes)
    return ItemResult(record.key, len(outcomes), sum(o.cells for o in outcomes), failed)


@contextmanager
def _marked_as_running(item: Item, job: Job) -> Iterator[None]:
    """Keep a marker file while the item is worked on, for those who watch the run."""
    marker = running_path(job.out, item.key)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def killed(image: str) -> Outcome:
    """Outcome of an image whose worker dies every time."""
    reason = (
        "The process that worked on it died every time, most likely for lack of memory: "
        "start fewer --workers, or work on it alone."
    )
    return Outcome(image, "failed", reason)


def records_of(item: Item, job: Job) -> list[Record]:
    """Records of an item, or of its images where they were run one by one."""
    together = Record.read(record_path(job.out, item.key))
    if together is not None:
        return [together]
    keys = [piece.key for piece in image_by_image(item, job)]
    records = (Record.read(record_path(job.out, key)) for key in keys)
    return [record for record in records if record is not None]


def left_to_do(item: Item, job: Job) -> list[Item]:
    """Parts of an item that are still to be run: none where all files are there and none failed.

    A refused input is not tried again: if it changes, so does the item's key.
    """
    records = {record.key: record for record in records_of(item, job)}
    pieces = [item] if item.key in records or not records else image_by_image(item, job)
    return [piece for piece in pieces if not _is_done(records.get(piece.key), job)]


def _is_done(record: Record | None, job: Job) -> bool:
    if record is None or not record.complete(job.out):
        return False
    return all(outcome.status != "failed" for outcome in record.outcomes)


def run_items(
    pool: Executor,
    items: Sequence[Item],
    job: Job,
    done: Callable[[ItemResult], None],
    stop: threading.Event,
) -> None:
    """Run items to their end, and record those that cannot be done.

    An item that fails, or whose worker dies, is run once more, image by image and with nothing
    beside it: so only the image that causes it is recorded as failed.

    Parameters
    ----------
    done : called with the result of every item
    stop : set to end early

    Raises
    ------
    StoppedError
        If the disk is full, the scheduler is lost or ``stop`` is set; what is done is kept.
    """
    for item in items:  # an earlier run may have recorded that they failed
        record_path(job.out, item.key).unlink(missing_ok=True)
    suspects = []
    for item, future in _completed(pool, items, job, stop):
        if (error := error_of(future)) is None:
            done(future.result())
        elif len(item.images) > 1 or is_killed_worker(error):
            suspects += image_by_image(item, job)
        else:
            done(_record_failure(item, job, error))
    for item in suspects:
        for _, future in _completed(pool, [item], job, stop):
            error = error_of(future)
            done(future.result() if error is None else _record_failure(item, job, error))


def _completed(
    pool: Executor, items: Sequence[Item], job: Job, stop: threading.Event
) -> Iterator[tuple[Item, Future[ItemResult]]]:
    waiting = iter(items)
    running: dict[Future[ItemResult], Item] = {}
    version = software_version(job.engine)
    try:
        while True:
            for item in islice(waiting, _AHEAD - len(running)):
                running[pool.submit(run_item, item, job, version)] = item
                if stop.is_set():
                    break
            if not running:
                return
            finished, _ = wait(running, _LOOK_FOR_INTERRUPTS_S, FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future
            if stop.is_set():
                raise StoppedError(
                    "Interrupted. What is done is kept; give the same command again to go on."
                )
    finally:
        for future in running:
            future.cancel()


def error_of(future: Future[Any]) -> Exception | None:
    """Error of this piece of work alone; an error that ends the whole run is raised."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        raise lost(cancelled) from cancelled
    if isinstance(error, StoppedError):
        raise error
    if error is None or (isinstance(error, Exception) and not is_lost_scheduler(error)):
        return error
    raise lost(error) from error


def _record_failure(item: Item, job: Job, error: Exception) -> ItemResult:
    """Write the record of an item that failed."""
    name = item.images[0].name
    outcome = killed(name) if is_killed_worker(error) else outcome_of(error, name)
    Record(item.key, (outcome,), ()).write(record_path(job.out, item.key))
    return ItemResult(item.key, 1, 0, 1)
