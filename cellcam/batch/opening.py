"""Open the images of a batch, matched with the model; huge ones in a form that can be cut."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from cellcam.batch.images import FileState, InputImage
from cellcam.batch.job import Job, digest
from cellcam.cells.user_labels import UserLabels
from cellcam.exchange.labels import open_labels
from cellcam.pipeline.matching import MatchedStack, match
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import whole_file

# A file is read in the pieces in which it is stored, whatever part of it is asked for.
_LARGEST_PIECE = 2**26
_CHUNK_EDGE = 1024


def open_image(image: InputImage, job: Job) -> MatchedStack:
    """Open an image and the user's label image of it; no pixels are read.

    Raises
    ------
    InputError
        If it cannot be read, or does not fit the model.
    """
    facts = job.request.image
    stack = job.request.open(image.file.path, image.name)
    finder = None
    if image.labels:
        finder = open_labels(image.labels.path, stack, facts.axes, facts.series)
    return match(stack, job.spec, job.request, finder)


def open_in_blocks(image: InputImage, job: Job) -> MatchedStack:
    """Same image in a form of which blocks can be read without reading all of it.

    A file that stores its planes in large pieces, such as one compressed strip, is unpacked to
    the folder of the parts, once for all blocks.

    Raises
    ------
    InputError
        See `open_image`.
    OSError
        If the disk is full.
    """
    matched = open_image(image, job)
    finder = matched.finder
    if isinstance(finder, UserLabels) and image.labels:
        finder = replace(finder, labels=_in_blocks(finder.labels, image.labels, job))
    return replace(matched, stack=_in_blocks(matched.stack, image.file, job), finder=finder)


def remove_unpacked(out: Path) -> None:
    """Delete the unpacked images, when all blocks are done."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def _in_blocks(stack: Stack, file: FileState, job: Job) -> Stack:
    if stack.stored is None or np.prod(stack.stored) * stack.data.dtype.itemsize < _LARGEST_PIECE:
        return stack
    import dask.array as da

    path = _folder(job.out) / f"{digest([str(file), job.fingerprint])}.npy"
    if not path.is_file():
        _unpack(stack, path)
    pixels = np.load(path, mmap_mode="r")
    chunks = (1, 1, 1, _CHUNK_EDGE, _CHUNK_EDGE)
    return replace(stack, data=da.from_array(pixels, chunks=chunks, name=False), stored=None)


def _folder(out: Path) -> Path:
    return out / "parts" / "unpacked"


def _unpack(stack: Stack, path: Path) -> None:
    """Write the pixels plane by plane, so that memory holds one plane."""
    shape, dtype = stack.data.shape, stack.data.dtype
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    # Written, not mapped: a mapped file on a full disk ends the process without a message.
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for plane in product(*map(range, shape[:3])):
            file.write(np.ascontiguousarray(stack.data[plane]).data)
