"""Pixels of one TIFF series, read region by region on demand."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.blocks import reading_chunks

if TYPE_CHECKING:
    import dask.array as da

    from cellcam.stacks.ome_zarr import ZarrArray


class TiffPixels:
    """Array-like view of a TIFF series in its own axes.

    Keeps the file open after the first read. Pickles as path and series number, because a TIFF
    store cannot be sent to another process.
    """

    def __init__(self, path: Path, series: int) -> None:
        self.path, self.series = path, series
        self._opened: ZarrArray | None = None
        array = self._array()
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self.ndim = len(self.shape)

    def __getitem__(self, region: tuple[slice | int, ...]) -> NDArray[np.generic]:
        return np.asarray(self._array()[region])

    def __reduce__(self) -> tuple[type[TiffPixels], tuple[Path, int]]:
        return TiffPixels, (self.path, self.series)

    def _array(self) -> ZarrArray:
        if self._opened is None:
            import tifffile
            import zarr

            store = tifffile.imread(self.path, series=self.series, level=0, aszarr=True)
            weakref.finalize(self, store.close)
            self._opened = zarr.open_array(store, mode="r")
        return self._opened


def lazy_pixels(path: Path, series: int, axes: str) -> tuple[da.Array, tuple[int, ...]]:
    """Dask array over a TIFF series with these axes, in the chunks of `reading_chunks`.

    Returns
    -------
    the pixels, and the shape of a strip or tile of the file, both in the file's axes
    """
    import dask.array as da

    pixels = TiffPixels(path, series)
    chunks = reading_chunks(axes, pixels.shape, pixels.dtype, pixels.chunks)
    return da.from_array(pixels, chunks=chunks, asarray=False, name=False), pixels.chunks
