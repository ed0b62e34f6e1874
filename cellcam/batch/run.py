"""Run a batch: plan, run, verify, merge, report."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from pydantic import JsonValue

from cellcam.batch.earlier_run import EarlierRun
from cellcam.batch.executors import executor, is_killed_worker
from cellcam.batch.huge_images import finish_image, finished, image_key, prepare_image
from cellcam.batch.images import InputImage, check_pattern, list_images
from cellcam.batch.items import ItemResult, error_of, killed, left_to_do, run_items
from cellcam.batch.job import Job
from cellcam.batch.merge import BatchResult, merge, verify
from cellcam.batch.opening import remove_unpacked
from cellcam.batch.plan import (
    Item,
    Plan,
    Workload,
    image_by_image,
    in_shard,
    make_plan,
    measure_workload,
)
from cellcam.batch.plate_metadata import read_plate_metadata
from cellcam.batch.progress import PlannedImage, plan_path, running_path, write_plan
from cellcam.batch.report import write_report
from cellcam.batch.shared_model import why_no_model
from cellcam.errors import CellCamError, StoppedError, UsageError
from cellcam.models.engine import facts_of
from cellcam.models.engine_choice import check_engine
from cellcam.pipeline.matching import map_planes
from cellcam.progress import Progress, nobody
from cellcam.request import Request
from cellcam.stacks.writing import writable_folder

_IMAGES_AT_ONCE = 50
_LEFTOVER = re.compile(r"\.\d+\..+")


@dataclass(frozen=True)
class Resources:
    """Where a batch runs; its results do not depend on it.

    Attributes
    ----------
    scheduler, workers : see `executor`
    shard : (i, n): do only the i-th of n shares of the work, and merge nothing
    device : see `choose_device`
    engine : of calls: torch or openvino; it is part of the job
    """

    scheduler: str | None = None
    workers: int | None = None
    shard: tuple[int, int] | None = None
    device: str = "auto"
    engine: str = "torch"


def run_batch(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    request: Request | None = None,
    *,
    resources: Resources | None = None,
    labels: str | None = None,
    pattern: str | None = None,
    metadata: Path | None = None,
    progress: Progress | None = None,
) -> BatchResult | None:
    """Find, classify and explain the cells of many images; finished work is not repeated.

    Parameters
    ----------
    paths : folders, searched with their subfolders, or images
    model : folder
    out : folder of the results; nothing outside it is written
    request : what to do with every image
    resources : where to run
    labels : see `list_images`
    pattern : see `metadata_of`
    metadata : table of wells, see `read_plate_metadata`
    progress : called with (images and blocks of huge images done, in all, note)

    Returns
    -------
    the results; None for a shard

    Raises
    ------
    ModelError, UsageError
        If the model cannot be used, the request makes no sense, or another run works in the folder.
        Nothing is written then, and results of an earlier run are as they were.
    StoppedError
        If the run ended early. The same call goes on where it was.
    """
    started = time.monotonic()
    request, resources = request or Request(), resources or Resources()
    check_engine(resources.engine)
    job = Job.of(request, model, out, resources.device, resources.engine)
    map_planes(job.spec, request.classes)
    check_pattern(pattern)
    about_wells = read_plate_metadata(metadata, pattern)
    writable_folder(job.out)
    say = progress or nobody
    say(0, 0, "starting")
    images = [image for image in list_images(paths, labels) if not _is_below(image, job.out)]
    about_wells.check_fits([image.name for image in images])
    # A shard needs no workers: it is itself a worker of the program that starts the shards.
    scheduler = "threads" if resources.shard else resources.scheduler
    with (
        _only_run_in(job.out, resources.shard),
        _interrupts() as stop,
        executor(scheduler, resources.workers, job.out, resources.device) as pool,
    ):
        _check_model(pool, job)
        if resources.shard is None:
            _forget_earlier_run(job.out)
        plan = make_plan(images, job, lambda some: _workloads(pool, some, job))
        write_plan(job.out, _planned_images(plan, job))
        earlier = _run(pool, plan, job, resources.shard, progress, stop)
        if resources.shard:
            return None
        say(0, 0, "writing tables and report")
        _remove_leftovers(job.out)
        seconds = round(time.monotonic() - started, 2)
        about: dict[str, JsonValue] = {
            "device": resources.device,
            "engine": asdict(facts_of(job.engine)),
            "scheduler": resources.scheduler or "local",
            "seconds": seconds,
        }
        done = merge(plan, verify(plan, job), job, about_wells, about)
        names = [outcome.image for outcome in done.outcomes if outcome.status == "done"]
        reports = write_report(plan.images, done, job, pool, about_wells, seconds)
        remove_unpacked(job.out)
        said = earlier.sentences(plan, names, job)
        written = (out / path.relative_to(job.out) for path in (*done.written, *reports))
        return replace(done, written=tuple(written), earlier=said)


def _check_model(pool: Executor, job: Job) -> None:
    """Load the model once, where the work will be done, before anything is planned or written."""
    future = pool.submit(why_no_model, job)
    error = error_of(future) or future.result()
    if error is None:
        return
    if is_killed_worker(error):
        raise StoppedError(
            f"A worker died while it loaded {job.model}, most likely for lack of memory: start "
            "fewer --workers."
        ) from error
    raise error


def _workloads(pool: Executor, images: Sequence[InputImage], job: Job) -> Iterator[Workload]:
    firsts = range(0, len(images), _IMAGES_AT_ONCE)
    futures = [pool.submit(measure_workload, images[i : i + _IMAGES_AT_ONCE], job) for i in firsts]
    for future, i in zip(futures, firsts, strict=True):
        try:
            yield from future.result()
        except Exception as error:
            if not is_killed_worker(error):
                raise
            yield from _workloads_one_by_one(pool, images[i : i + _IMAGES_AT_ONCE], job)


def _workloads_one_by_one(
    pool: Executor, images: Sequence[InputImage], job: Job
) -> Iterator[Workload]:
    """One of these images kills the worker that opens it: find out which."""
    for image in images:
        try:
            yield from pool.submit(measure_workload, [image], job).result()
        except Exception as error:
            if not is_killed_worker(error):
                raise
            yield Workload(image, killed(image.name))


def _run(
    pool: Executor,
    plan: Plan,
    job: Job,
    shard: tuple[int, int] | None,
    progress: Progress | None,
    stop: threading.Event,
) -> EarlierRun:
    """Run what is left to do; returns what an earlier run had done."""
    huge = plan.blocks_by_image()
    with FileLock(job.parts / "prepare.lock"):  # shards may come here together
        for blocks in huge.values():
            prepare_image(blocks, job)
    mine = [item for item in plan.items if shard is None or in_shard(item, *shard)]
    todo = [piece for item in mine for piece in left_to_do(item, job)]
    earlier = EarlierRun.seen(plan, todo, job)
    n_all = sum(len(item.images) for item in mine)
    done = n_all - sum(len(item.images) for item in todo)
    cells = failed = 0

    def count(result: ItemResult) -> None:
        nonlocal done, cells, failed
        done, cells = done + result.done, cells + result.cells
        failed += result.failed
        if progress:
            note = f"{cells} cells" + (f", {failed} failed" if failed else "")
            progress(done, n_all, note)

    run_items(pool, todo, job, count, stop)
    if shard is None:
        whole = [blocks for blocks in huge.values() if _all_done(blocks, job)]
        unfinished = [blocks for blocks in whole if finished(blocks, job) is None]
        for future in [pool.submit(finish_image, blocks, job) for blocks in unfinished]:
            future.result()
    return earlier


def _all_done(items: Sequence[Item], job: Job) -> bool:
    return not any(left_to_do(item, job) for item in items)


def _forget_earlier_run(out: Path) -> None:
    """Delete the plan of an earlier run, and the markers that it left when it was killed."""
    plan_path(out).unlink(missing_ok=True)
    shutil.rmtree(running_path(out, ""), ignore_errors=True)


def _planned_images(plan: Plan, job: Job) -> list[PlannedImage]:
    steps: dict[str, list[tuple[str, ...]]] = {}
    for item in plan.items:
        for image, alone in zip(item.images, image_by_image(item, job), strict=True):
            keys = tuple(dict.fromkeys((item.key, alone.key)))
            steps.setdefault(image.name, []).append(keys)
    for name, blocks in plan.blocks_by_image().items():
        steps[name].append((image_key(blocks),))
    unusable = {outcome.image: outcome for outcome in plan.unusable}
    return [
        PlannedImage(
            image.name,
            str(image.file.path),
            tuple(steps.get(image.name, ())),
            unusable.get(image.name),
        )
        for image in plan.images
    ]


def _is_below(image: InputImage, out: Path) -> bool:
    """Results of an earlier run are no inputs."""
    return image.file.path.is_relative_to(out)


@contextmanager
def _only_run_in(out: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """Allow one run at a time in a folder; the shards of a run may work side by side."""
    parts = out / "parts"
    lock = parts / (f"shard-{shard[0]}-of-{shard[1]}.lock" if shard else "run.lock")
    new = [path for path in (lock, parts, *parts.parents) if not path.exists()]
    parts.mkdir(parents=True, exist_ok=True)
    others = [] if shard else sorted(parts.glob("shard-*.lock"))
    with ExitStack() as held:
        try:
            for path in [*others, lock]:
                held.enter_context(FileLock(path, timeout=0))
        except Timeout as error:
            raise UsageError(
                f"Another run works in {out}. Wait for its end, or choose another --out."
            ) from error
        try:
            yield
        except CellCamError:
            _remove_empty(new)
            raise


def _remove_empty(new: Sequence[Path]) -> None:
    """Remove the lock and the folders of a refused run, as far as nothing else is in them."""
    for path in new:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Event that is set by Ctrl-C, SIGTERM, and the signal that SLURM sends before time is up."""
    stop = threading.Event()

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, set_stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_leftovers(out: Path) -> None:
    """Temporary files of processes that were killed."""
    for path in out.rglob(".*"):
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
