"""Doing the items of a plan: each a pure function from inputs to files, repeatable at will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from cellcam.errors import StoppedError
from cellcam.models.device import give_back_memory
from cellcam.pipeline.choices import Job
from cellcam.pipeline.engines import is_killed_worker, is_lost_scheduler, lost
from cellcam.pipeline.huge_images import run_block
from cellcam.pipeline.planning import Item, singly
from cellcam.pipeline.records import Outcome, Record, disk_full_stops, outcome_of, record_path
from cellcam.pipeline.standing import running_path
from cellcam.pipeline.whole_images import run_images
from cellcam.versions import code_version

# Items handed to the engine before the first is done: enough to keep any cluster busy, and few
# enough that a driver's memory does not grow with the number of images.
_AHEAD = 1000
_LOOK_FOR_INTERRUPTS_S = 0.5


@dataclass(frozen=True)
class Report:
    """What an item tells the driver; everything else is on disk."""

    key: str
    cells: int
    failed: int


def run_item(item: Item, job: Job, planned_by: str) -> Report:
    """Do one piece of work; the same item always writes the same files, and once.

    Parameters
    ----------
    planned_by : version of the code that made the plan

    Raises
    ------
    StoppedError
        If the disk is full, or this process runs other code than the one that planned.
    """
    if code_version() != planned_by:
        raise StoppedError(
            f"A worker runs CellCam {code_version()}, the plan was made by {planned_by}. Install "
            "the same version everywhere and restart the workers."
        )
    path = record_path(job.out, item.key)
    done = Record.read(path)
    if done is not None and done.complete(job.out):
        # Dask repeats what a worker had done before it died. Files that are there stay there: the
        # driver may be looking at them already.
        return _report(done)
    with disk_full_stops(), _marked_as_running(item, job):
        if item.block is None:
            outcomes, files = run_images(item.images, job)
        else:
            outcomes, files = run_block(item.key, item.images[0], item.block, job)
        sizes = tuple((path.relative_to(job.out).as_posix(), path.stat().st_size) for path in files)
        record = Record(item.key, tuple(outcomes), sizes)
        record.write(path)
    give_back_memory()
    return _report(record)


def _report(record: Record) -> Report:
    failed = sum(outcome.status != "done" for outcome in record.outcomes)
    return Report(record.key, sum(outcome.cells for outcome in record.outcomes), failed)


@contextmanager
def _marked_as_running(item: Item, job: Job) -> Iterator[None]:
    """A file for as long as the item is worked on, for whoever watches the run."""
    marker = running_path(job.out, item.key)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def killed(image: str) -> Outcome:
    """What becomes of an image whose worker dies every time."""
    told = "The process that worked on it died every time, most likely for lack of memory."
    return Outcome(image, "failed", told)


def records_of(item: Item, job: Job) -> list[Record]:
    """What is on disk about an item, or about its images where they were run one by one."""
    own = Record.read(record_path(job.out, item.key))
    if own is not None:
        return [own]
    alone = (Record.read(record_path(job.out, one.key)) for one in singly(item, job))
    return [record for record in alone if record is not None]


def left_to_do(item: Item, job: Job) -> list[Item]:
    """What of an item is still to be run: nothing where all files are there and none failed.

    What was refused stays so: the input that was refused is part of the item's key.
    """
    records = {record.key: record for record in records_of(item, job)}
    pieces = [item] if item.key in records or not records else singly(item, job)
    return [one for one in pieces if not _is_done(records.get(one.key), job)]


def _is_done(record: Record | None, job: Job) -> bool:
    if record is None or not record.complete(job.out):
        return False
    return all(outcome.status != "failed" for outcome in record.outcomes)


def run_items(
    pool: Executor,
    items: Sequence[Item],
    job: Job,
    done: Callable[[Report], None],
    stop: threading.Event,
) -> None:
    """Run items to their end, and record those that cannot be done.

    An item that fails, or whose worker dies, is suspected, and run once more, each image by
    itself and with nothing beside it: the innocent are done then, the guilty one is recorded.

    Parameters
    ----------
    done : called with the report of every item
    stop : set to end early

    Raises
    ------
    StoppedError
        If the disk is full, the scheduler is lost or ``stop`` is set; what is done is kept.
    """
    for item in items:  # what an earlier run left about them, such as that they failed
        record_path(job.out, item.key).unlink(missing_ok=True)
    suspects = []
    for item, future in _completed(pool, items, job, stop):
        if (error := _error_of(future)) is None:
            done(future.result())
        elif len(item.images) > 1 or is_killed_worker(error):
            suspects += singly(item, job)
        else:
            done(_record_failure(item, job, error))
    for item in suspects:
        for _, future in _completed(pool, [item], job, stop):
            error = _error_of(future)
            done(future.result() if error is None else _record_failure(item, job, error))


def _completed(
    pool: Executor, items: Sequence[Item], job: Job, stop: threading.Event
) -> Iterator[tuple[Item, Future[Report]]]:
    waiting = iter(items)
    running: dict[Future[Report], Item] = {}
    version = code_version()
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


def _error_of(future: Future[Report]) -> Exception | None:
    """What went wrong with an item alone; what ends the whole run is raised."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        raise lost(cancelled) from cancelled
    if isinstance(error, StoppedError):
        raise error
    if error is None or (isinstance(error, Exception) and not is_lost_scheduler(error)):
        return error
    raise lost(error) from error


def _record_failure(item: Item, job: Job, error: Exception) -> Report:
    """The item as failed, on disk like any other."""
    name = item.images[0].name
    outcome = killed(name) if is_killed_worker(error) else outcome_of(error, name)
    Record(item.key, (outcome,), ()).write(record_path(job.out, item.key))
    return Report(item.key, 0, 1)
