"""Folders of small images, and batches as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from cellcam import Stack
from cellcam.batch.run import Resources
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

HERE = Resources("sync", device="cpu")
PIXEL = PixelSize(None, 0.5, 0.5)


def field_of_discs(seed: int, shape: tuple[int, int] = (96, 96), n: int = 6) -> Stack:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = np.full((2, *shape), 100.0)
    for cy, cx in random.uniform(0, shape, (n, 2)):
        disc = np.hypot(y - cy, x - cx) < random.uniform(5, 8)
        pixels[:, disc] = np.array([[400.0], [250.0]])
    return Stack.from_array(random.poisson(pixels).astype(np.uint16), "CYX", ["DNA", "actin"])


def write_field(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = field_of_discs(seed)
    write_ome_tiff(path, np.asarray(stack.data), stack.channels, PIXEL)


def names_that_end_groups(n: int) -> list[str]:
    """Names of images that are worked on one by one: each ends a group, see `plan._groups`."""
    names = (f"i{i:04}" for i in count())
    return list(islice((n for n in names if sha256(n.encode()).digest()[0] % 32 == 0), n))


def results_of(out: Path) -> dict[str, bytes]:
    """Every table, map and label image of a run."""
    kept = [*out.glob("*.csv"), *out.glob("*.parquet"), *(out / "images").rglob("*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.is_file()}


def cellcam(
    *arguments: object, env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cellcam", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, **options
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def dask_cluster(address: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler and two workers, as someone else would have started them."""

    def dask(*words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *map(str, words), "--no-dashboard"]
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*command, "--scheduler-file", str(address)], **how)  # type: ignore[call-overload]

    started = [dask("scheduler", "--host", "127.0.0.1", "--port", 0)]
    try:
        wait_until(address.is_file)
        for _ in range(2):
            # Without a nanny, so that what is ended here is the worker itself.
            started.append(
                dask("worker", "--no-nanny", "--nthreads", 2, "--local-directory", address.parent)
            )
        yield started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


# After some files the disk is full; the one place where all files get their names says so.
FULL_DISK = """
import errno, os
replace, left = os.replace, 8
def full(source, target, **how):
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    return replace(source, target, **how)
os.replace = full
"""


# Reading the pixels of this one file kills the process, as a faulty codec would.
DEADLY = """
import os, signal
import tifffile
aszarr = tifffile.TiffPageSeries.aszarr
def deadly(series, **how):
    if "deadly" in series.keyframe.parent.filename:
        os.kill(os.getpid(), signal.SIGKILL)
    return aszarr(series, **how)
tifffile.TiffPageSeries.aszarr = deadly
"""
