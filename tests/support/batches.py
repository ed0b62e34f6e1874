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
def dask_cluster(
    address: Path, workers_env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler and two workers, as someone else would have started them."""
    environment = {**os.environ, **(workers_env or {})}

    def dask(*words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *map(str, words), "--no-dashboard"]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(
            [*command, "--scheduler-file", str(address)],
            stdout=nothing,
            stderr=nothing,
            env=environment,
        )

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


# Reading the pixels of this one file asks for more memory than there is.
HUNGRY = """
import numpy, tifffile
aszarr = tifffile.TiffPageSeries.aszarr
def hungry(series, **how):
    if "hungry" in series.keyframe.parent.filename:
        numpy.ones(2**52)
    return aszarr(series, **how)
tifffile.TiffPageSeries.aszarr = hungry
"""

# The GPU fails at the cells of one image, and from then on at everything this process asks of it,
# as after an access to an illegal address. That image is told by its brightest pixel.
BROKEN_GPU = """
import sys
from importlib.abc import MetaPathFinder
class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cellcam.pipeline.classify_field":
            sys.meta_path.remove(self)
            from cellcam.models.model import CellModel
            probabilities, broken = CellModel.probabilities, []
            def answer(self, crops):
                if broken or (crops == 54321).any():
                    broken.append(True)
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                return probabilities(self, crops)
            CellModel.probabilities = answer
sys.meta_path.insert(0, Watch())
"""

# This process has another version of torch.
OTHER_TORCH = """
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: "1.0.0" if name == "torch" else version(name)
"""


def hooked(folder: Path, code: str) -> dict[str, str]:
    """Environment in which Python runs this code when it starts."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path}


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes in a folder.

    Raises
    ------
    OSError
        If this user may not mount one, or the system has no tmpfs.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise OSError("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
