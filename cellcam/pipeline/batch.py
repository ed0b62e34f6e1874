"""A batch from folders to one result: plan, run, verify, merge."""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from cellcam.errors import UsageError
from cellcam.pipeline.batch_report import write_report
from cellcam.pipeline.choices import Choices, Job
from cellcam.pipeline.engines import engine, is_killed_worker
from cellcam.pipeline.field import map_planes
from cellcam.pipeline.huge_images import finish_image, finished, image_key, prepare_image
from cellcam.pipeline.inputs import Image, check_pattern, list_images
from cellcam.pipeline.merging import Merged, merge, verify
from cellcam.pipeline.planning import Item, Look, Plan, in_shard, look_at, make_plan, singly
from cellcam.pipeline.running import Report, killed, left_to_do, run_items
from cellcam.pipeline.spooling import remove_spooled
from cellcam.pipeline.standing import PlannedImage, plan_path, running_path, write_plan

_LOOKS_AT_ONCE = 50
_LEFTOVER = re.compile(r"\.\d+\..+")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class How:
    """What runs a batch; results do not depend on it.

    Attributes
    ----------
    scheduler, workers : see `engine`
    shard : (i, n): only the i-th of n shares of the work is done, and nothing is merged
    device : see `choose_device`
    """

    scheduler: str | None = None
    workers: int | None = None
    shard: tuple[int, int] | None = None
    device: str = "auto"


def run_batch(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    choices: Choices | None = None,
    *,
    how: How | None = None,
    labels: str | None = None,
    pattern: str | None = None,
    progress: Progress | None = None,
) -> Merged | None:
    """Find, classify and explain the cells of many images; what was done before is not repeated.

    Parameters
    ----------
    paths : folders, searched with their subfolders, or images
    model : folder
    out : folder of the results; nothing outside it is written
    choices, how : what is done, and by what
    labels : see `list_images`
    pattern : see `metadata_of`
    progress : called with (items done, items in all, note)

    Returns
    -------
    what came of it; None for a shard

    Raises
    ------
    UsageError
        If the options make no sense, or another run works in the folder.
    StoppedError
        If the run ended early. The same call goes on where it was.
    """
    started = time.monotonic()
    choices, how = choices or Choices(), how or How()
    job = Job.of(choices, model, out, how.device)
    map_planes(job.spec, choices.classes)
    check_pattern(pattern)
    images = [image for image in list_images(paths, labels) if not _is_below(image, job.out)]
    job.out.mkdir(parents=True, exist_ok=True)
    # A shard needs no engine: what starts the shards is one.
    scheduler = "threads" if how.shard else how.scheduler
    with (
        _only_run_in(job.out, how.shard),
        _interrupts() as stop,
        engine(scheduler, how.workers, job.out) as pool,
    ):
        if how.shard is None:
            _forget_earlier_run(job.out)
        plan = make_plan(images, job, lambda some: _looks(pool, some, job))
        write_plan(job.out, _what_is_planned(plan, job))
        _run(pool, plan, job, how.shard, progress, stop)
        if how.shard:
            return None
        _remove_leftovers(job.out)
        seconds = round(time.monotonic() - started, 2)
        about = {
            "command": sys.argv[1:],
            "device": how.device,
            "scheduler": how.scheduler or "local",
            "seconds": seconds,
        }
        done = merge(plan, verify(plan, job), job, pattern, about)
        report = write_report(images, done, job, pattern, seconds)
        remove_spooled(job.out)
        return replace(done, written=(*done.written, report))


def _looks(pool: Executor, images: Sequence[Image], job: Job) -> Iterator[Look]:
    firsts = range(0, len(images), _LOOKS_AT_ONCE)
    futures = [pool.submit(look_at, images[i : i + _LOOKS_AT_ONCE], job) for i in firsts]
    for future, i in zip(futures, firsts, strict=True):
        try:
            yield from future.result()
        except Exception as error:
            if not is_killed_worker(error):
                raise
            yield from _looks_singly(pool, images[i : i + _LOOKS_AT_ONCE], job)


def _looks_singly(pool: Executor, images: Sequence[Image], job: Job) -> Iterator[Look]:
    """One of these images kills who looks at it: find out which."""
    for image in images:
        try:
            yield from pool.submit(look_at, [image], job).result()
        except Exception as error:
            if not is_killed_worker(error):
                raise
            yield Look(image, killed(image.name))


def _run(
    pool: Executor,
    plan: Plan,
    job: Job,
    shard: tuple[int, int] | None,
    progress: Progress | None,
    stop: threading.Event,
) -> None:
    huge = plan.blocks_by_image()
    with FileLock(job.parts / "prepare.lock"):  # shards may come here together
        for blocks in huge.values():
            prepare_image(blocks, job)
    mine = [item for item in plan.items if shard is None or in_shard(item, *shard)]
    todo = [piece for item in mine for piece in left_to_do(item, job)]
    done = len(mine) - len(todo)
    cells = failed = 0

    def count(report: Report) -> None:
        nonlocal done, cells, failed
        done, cells, failed = done + 1, cells + report.cells, failed + report.failed
        if progress:
            note = f"{cells} cells" + (f", {failed} failed" if failed else "")
            progress(min(done, len(mine)), len(mine), note)

    run_items(pool, todo, job, count, stop)
    if shard is None:
        whole = [blocks for blocks in huge.values() if _all_done(blocks, job)]
        unfinished = [blocks for blocks in whole if finished(blocks, job) is None]
        for future in [pool.submit(finish_image, blocks, job) for blocks in unfinished]:
            future.result()


def _all_done(items: Sequence[Item], job: Job) -> bool:
    return not any(left_to_do(item, job) for item in items)


def _forget_earlier_run(out: Path) -> None:
    """What an earlier run planned, and what it was at when it was killed."""
    plan_path(out).unlink(missing_ok=True)
    shutil.rmtree(running_path(out, ""), ignore_errors=True)


def _what_is_planned(plan: Plan, job: Job) -> list[PlannedImage]:
    steps: dict[str, list[tuple[str, ...]]] = {}
    for item in plan.items:
        for image, alone in zip(item.images, singly(item, job), strict=True):
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


def _is_below(image: Image, out: Path) -> bool:
    """Results of an earlier run are no inputs."""
    return image.file.path.is_relative_to(out)


@contextmanager
def _only_run_in(out: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """One run at a time in a folder; shards of one run may work side by side."""
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    own = parts / (f"shard-{shard[0]}-of-{shard[1]}.lock" if shard else "run.lock")
    others = [] if shard else sorted(parts.glob("shard-*.lock"))
    with ExitStack() as held:
        try:
            for path in [*others, own]:
                held.enter_context(FileLock(path, timeout=0))
        except Timeout as error:
            raise UsageError(
                f"Another run works in {out}. Wait for its end, or choose another --out."
            ) from error
        yield


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, by a polite kill, and by SLURM before time is up."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, ask) for number in numbers}
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
