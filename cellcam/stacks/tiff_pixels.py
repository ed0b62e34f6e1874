"""Pixels of one TIFF series, read by region when they are asked for."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.blocks import reading_chunks

if TYPE_CHECKING:
    import dask.array as da
    import zarr


class TiffPixels:
    """Array-like view of a TIFF series in its own axes.

    Holds the file open once something was read, and pickles as its path: a TIFF store
    itself cannot travel to another process.
    """

    def __init__(self, path: Path, series: int) -> None:
        self.path, self.series = path, series
        self._opened: zarr.Array[Any] | None = None
        array = self._array()
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self.ndim = len(self.shape)

    def __getitem__(self, region: Any) -> NDArray[np.generic]:
        return np.asarray(self._array()[region])

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffPixels, (self.path, self.series)

    def _array(self) -> zarr.Array[Any]:
        if self._opened is None:
            import tifffile
            import zarr

            store = tifffile.imread(self.path, series=self.series, level=0, aszarr=True)
            weakref.finalize(self, store.close)
            self._opened = zarr.open_array(store, mode="r")
        return self._opened


def lazy_pixels(path: Path, series: int) -> tuple[da.Array, tuple[int, ...]]:
    """Dask array over a TIFF series: one plane a chunk, large planes in blocks of 16 MiB.

    Returns
    -------
    the pixels, and the shape of what the file stores together, both in the file's axes
    """
    import dask.array as da

    pixels = TiffPixels(path, series)
    chunks = reading_chunks(pixels.shape, pixels.dtype, pixels.chunks)
    return da.from_array(pixels, chunks=chunks, asarray=False, name=False), pixels.chunks
