"""Chunks of a Zarr array on disk: are they all there, and do they decode?

Zarr takes a chunk that is not there for one of the fill value. Some programs leave out chunks of
zeros on purpose, but a copy that broke off, or an acquisition that stopped, looks the same.
"""

from __future__ import annotations

import os
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.missing_pixels import MissingPixels

if TYPE_CHECKING:
    from cellcam.stacks.ome_zarr import ZarrArray

_MOST_CHUNKS = 2**26
_LARGE, _LARGEST_RATIO = 2**30, 500


class ZarrPixels:
    """Array-like view of a Zarr array whose errors name the image."""

    def __init__(self, path: Path, array: ZarrArray) -> None:
        self.path, self.array = path, array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._is_blosc = array.shards is None and "blosc" in _codecs(array)

    def __getitem__(self, region: tuple[slice | int, ...]) -> NDArray[np.generic]:
        if self._is_blosc:
            self._check_whole(region)
        try:
            return np.asarray(self.array[region])
        except NOT_THE_FILE:
            raise
        except Exception as error:  # codecs raise what they like
            raise InputError(
                f"{self.path} is damaged: a chunk in the pixels {region} cannot be read ({error}). "
                "Copy or export it again."
            ) from error

    def _check_whole(self, region: tuple[slice | int, ...]) -> None:
        """Blosc reads beyond the end of a chunk that is cut off: compare with its stated size."""
        folder = self.path / self.array.path
        spans = [
            range(a.start // n, -(-a.stop // n)) if isinstance(a, slice) else [a // n]
            for a, n in zip(region, self.array.chunks, strict=True)
        ]
        for index in product(*spans):
            file = folder / self.array.metadata.encode_chunk_key(index)
            if not file.is_file():
                continue
            with open(file, "rb") as chunk:
                begin = chunk.read(16)
            if len(begin) < 16 or int.from_bytes(begin[12:], "little") > file.stat().st_size:
                raise InputError(
                    f"{self.path} is damaged: its chunk {index} is cut off. Copy or export it "
                    "again."
                )


def _codecs(array: ZarrArray) -> str:
    """Names of what compresses an array."""
    return " ".join(type(codec).__name__ for codec in array.compressors).lower()


def missing_chunks(path: Path, array: ZarrArray) -> MissingPixels | None:
    """The chunks, or shards, of an array that are not in its folder, or None.

    Raises
    ------
    InputError
        If the declared size makes no sense, or a chunk is a link out of the folder.
    """
    stored = array.shards or array.chunks
    grid = [-(-n // size) for n, size in zip(array.shape, stored, strict=True)]
    if prod(grid) > _MOST_CHUNKS:
        raise InputError(f"{path} declares {prod(grid)} chunks. Refused; export it again.")
    sizes = _files_below(path, path / array.path)
    absent = np.zeros(grid, bool)
    for index in np.ndindex(*grid):
        absent[index] = array.metadata.encode_chunk_key(index) not in sizes
    present = int((~absent).sum()) * prod(stored) * array.dtype.itemsize
    if present > _LARGE and present > _LARGEST_RATIO * sum(sizes.values()):
        raise InputError(
            f"{path} declares {present / 2**30:.1f} GiB of pixels in "
            f"{sum(sizes.values()) / 2**20:.1f} MiB: it is blank, or made to fill the memory. "
            "Refused; if it is an image, export a part of it."
        )
    return MissingPixels(absent, stored) if absent.any() else None


def _files_below(path: Path, folder: Path) -> dict[str, int]:
    """Size of each file of an array, by its path below the array's folder with ``/``."""
    root = path.resolve()
    if not folder.resolve().is_relative_to(root):
        raise InputError(f"{path} holds a link to a file outside it: {folder}. Refused.")
    sizes: dict[str, int] = {}
    for place, folders, names in os.walk(folder):
        inner = Path(place).relative_to(folder).as_posix()
        for name in [*folders, *names]:
            file = Path(place, name)
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                raise InputError(
                    f"{path} holds a link to a file outside it: {file}. Refused; copy the files."
                )
        for name in names:
            key = name if inner == "." else f"{inner}/{name}"
            sizes[key] = os.path.getsize(os.path.join(place, name))
    return sizes
