"""Pixels of one TIFF series, read region by region on demand."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.blocks import reading_chunks
from cellcam.stacks.tiff_file import tiff_file

if TYPE_CHECKING:
    import dask.array as da
    from tifffile import TiffFile, TiffPage, TiffPageSeries

    from cellcam.stacks.ome_zarr import ZarrArray

# JPEG and JPEG 2000 in the numbers of TIFF.
_JPEG = (6, 7, 33003, 33004, 33005, 33007, 34712)


class TiffPixels:
    """Array-like view of a TIFF series in its own axes.

    Keeps the file open after the first read. Pickles as path and series number, because a TIFF
    store cannot be sent to another process.
    """

    def __init__(self, path: Path, series: int, tif: TiffFile | None = None) -> None:
        self.path, self.series = path, series
        self._opened: ZarrArray | None = self._view_of(tif) if tif is not None else None
        array = self._array()
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self.ndim = len(self.shape)

    def __getitem__(self, region: tuple[slice | int, ...]) -> NDArray[np.generic]:
        try:
            return np.asarray(self._array()[region])
        except NOT_THE_FILE:
            raise
        except Exception as error:  # decoders raise what they like
            raise InputError(
                f"{self.path} is damaged: its pixels {_place(region)} cannot be read ({error}). "
                "Copy or export it again."
            ) from error

    def __reduce__(self) -> tuple[type[TiffPixels], tuple[Path, int]]:
        return TiffPixels, (self.path, self.series)

    def _array(self) -> ZarrArray:
        if self._opened is None:
            with tiff_file(self.path) as (tif, _):
                self._opened = self._view_of(tif)
        return self._opened

    def _view_of(self, tif: TiffFile) -> ZarrArray:
        """Array that reads from an open file, and opens it again when it is closed."""
        import zarr

        series = tif.series[self.series]
        for page in {id(p.keyframe): p.keyframe for p in _pages(series)}.values():
            _check_ends(page, self.path)
        store = series.aszarr(level=0)
        weakref.finalize(self, store.close)
        return zarr.open_array(store, mode="r")


def _pages(series: TiffPageSeries) -> list[TiffPage]:
    if series.dataoffset is not None:
        return [series.keyframe]
    return [page for page in series.pages if page is not None]


def _check_ends(page: TiffPage, path: Path) -> None:
    """Refuse strips and tiles of JPEG and JPEG 2000 without an end: decoders fill in grey."""
    # Slides in the format NDPI store parts of one JPEG, which have no end of their own.
    if page.compression not in _JPEG or page.jpegheader is not None:
        return
    decode = page.decode

    def checked(data: bytes | None, *args: object, **options: object) -> object:
        if data and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise InputError(f"{path} is damaged: a strip or tile is cut off. Copy it again.")
        return decode(data, *args, **options)

    page.decode = checked


def lazy_pixels(pixels: TiffPixels, axes: str) -> da.Array:
    """Dask array over a TIFF series with these axes, in the chunks of `reading_chunks`."""
    import dask.array as da

    chunks = reading_chunks(axes, pixels.shape, pixels.dtype, pixels.chunks)
    return da.from_array(pixels, chunks=chunks, asarray=False, name=False)


def _place(region: tuple[slice | int, ...]) -> str:
    """A region in words, such as ``[3, 0:512, 512:1024]``."""
    parts = [f"{a.start}:{a.stop}" if isinstance(a, slice) else str(a) for a in region]
    return f"[{', '.join(parts)}]"
