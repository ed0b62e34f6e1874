"""Huge images that are stored in one piece: unpacked once, so that blocks can be read of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from cellcam.pipeline.choices import Job, digest
from cellcam.pipeline.inputs import FileState
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import whole_file

# What a file stores together is read together, whatever part of it is asked for.
_LARGEST_PIECE = 2**26
_CHUNK_EDGE = 1024


def in_blocks(stack: Stack, file: FileState, job: Job) -> Stack:
    """The same stack in a form of which blocks can be read without reading all of it.

    A file that stores its planes in large pieces, such as one compressed strip, is unpacked to
    the folder of the parts first; whoever comes later finds it there.

    Raises
    ------
    OSError
        If the disk is full.
    """
    if stack.stored is None or np.prod(stack.stored) * stack.data.dtype.itemsize < _LARGEST_PIECE:
        return stack
    import dask.array as da

    path = _folder(job.out) / f"{digest([str(file), job.fingerprint])}.npy"
    if not path.is_file():
        _unpack(stack, path)
    pixels = np.load(path, mmap_mode="r")
    chunks = (1, 1, 1, _CHUNK_EDGE, _CHUNK_EDGE)
    return replace(stack, data=da.from_array(pixels, chunks=chunks, name=False), stored=None)


def remove_spooled(out: Path) -> None:
    """Give the space back, when all blocks are there."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def _folder(out: Path) -> Path:
    return out / "parts" / "spooled"


def _unpack(stack: Stack, path: Path) -> None:
    """Write the pixels plane by plane: one plane is all that is ever in memory."""
    shape, dtype = stack.data.shape, stack.data.dtype
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    # Written, not mapped: a mapped file on a full disk ends the process without a word.
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for plane in product(*map(range, shape[:3])):
            file.write(np.ascontiguousarray(stack.data[plane]).data)
