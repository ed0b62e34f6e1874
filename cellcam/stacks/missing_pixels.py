"""Pixels that are not in a file: planes never acquired, tiles never written, files cut off.

TIFF and Zarr readers read them as zeros. Here they are errors, or no data (NaN) where the user
asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    import dask.array as da


class MissingPixelsError(InputError):
    """Parts of an image are not in its file; the others can be used, if the user wants to."""


@dataclass(frozen=True, eq=False)
class MissingPixels:
    """Which pieces of an image are missing.

    Attributes
    ----------
    absent : bool, one value for each piece that the file stores, along the file's axes
    stored : shape of a piece, along the same axes
    cause : what the file says about it, such as "the file is cut off"; may be empty
    """

    absent: NDArray[np.bool_]
    stored: tuple[int, ...]
    cause: str = ""

    def complete_times(self, axes: str) -> list[int]:
        """Time points of which everything is there."""
        return [t for t, share in enumerate(self._shares(axes)) if share == 0]

    def empty_times(self, axes: str) -> list[int]:
        """Time points of which nothing is there."""
        return [t for t, share in enumerate(self._shares(axes)) if share == 1]

    def _shares(self, axes: str) -> list[float]:
        if "T" not in axes:
            return [float(self.absent.mean())]
        axis = axes.index("T")
        shares = np.moveaxis(self.absent, axis, 0).reshape(self.absent.shape[axis], -1).mean(1)
        # A piece may hold several time points.
        return [float(share) for share in shares for _ in range(self.stored[axis])]

    def message(self, path: Path, axes: str) -> str:
        """What is missing and what can be done."""
        text = f"{path}: {self.extent(axes)}"
        text += f" ({self.cause}). " if self.cause else ". "
        complete = self.complete_times(axes) if "T" in axes else []
        if complete:
            text += f"Complete are the time points {ranges(complete)}: choose one with t=... (--t)."
        return (
            f"{text} Export or copy the image again; or have what is missing counted as no data: "
            "tolerate_missing=True (--tolerate-missing)."
        ).replace("  ", " ")

    def extent(self, axes: str) -> str:
        """How much is missing, in words."""
        spatial = [i for i, axis in enumerate(axes) if axis in "YXS"]
        planes = self.absent.all(axis=tuple(spatial))
        if planes.sum() * np.prod([self.absent.shape[i] for i in spatial]) == self.absent.sum():
            kind, n, of = "planes", int(planes.sum()), planes.size
        else:
            kind, n, of = "tiles, strips or chunks", int(self.absent.sum()), self.absent.size
        return f"{n} of {of} {kind} are missing"

    def note(self, axes: str) -> str:
        """What was done about it, in a sentence."""
        empty = self.empty_times(axes) if "T" in axes else []
        where = f" Time points without any: {ranges(empty)}." if empty else ""
        return f"{self.extent(axes)} and count as no data.{where}"

    def as_no_data(self, pixels: da.Array) -> da.Array:
        """The same pixels as floating-point numbers that hold every value, NaN where missing."""
        # float32 holds whole numbers of up to 24 bits.
        dtype = np.result_type(pixels.dtype, np.float32)
        return pixels.map_blocks(
            partial(_filled, self, dtype), dtype=dtype, meta=_meta(pixels, dtype)
        )

    def as_errors(self, pixels: da.Array, message: str) -> da.Array:
        """The same pixels, of which those that are missing raise `MissingPixelsError` when read."""
        meta = _meta(pixels, pixels.dtype)
        return pixels.map_blocks(partial(_refused, self, message), dtype=pixels.dtype, meta=meta)

    def mask(self, location: list[tuple[int, int]]) -> NDArray[np.bool_]:
        """Where a box is missing; ``location`` is its (start, stop) along each axis."""
        pieces = [
            np.arange(start, stop) // size
            for (start, stop), size in zip(location, self.stored, strict=True)
        ]
        return np.asarray(self.absent[np.ix_(*pieces)])


def ranges(numbers: list[int]) -> str:
    """Ascending whole numbers in words, such as ``"0 to 36, 38"``."""
    known = set(numbers)
    firsts = [n for n in numbers if n - 1 not in known]
    lasts = [n for n in numbers if n + 1 not in known]
    parts = [f"{a} to {b}" if b > a else str(a) for a, b in zip(firsts, lasts, strict=True)]
    return ", ".join(parts[:10]) + (f" and {len(parts) - 10} further ranges" * (len(parts) > 10))


def _meta(pixels: da.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """What Dask takes the type of a result from, so that it does not try the function itself."""
    return np.empty((0,) * pixels.ndim, dtype)


def _filled(
    missing: MissingPixels,
    dtype: np.dtype[Any],
    block: NDArray[Any],
    block_info: dict[Any, Any] | None = None,
) -> NDArray[Any]:
    filled = block.astype(dtype)
    if block_info:
        filled[missing.mask(block_info[0]["array-location"])] = np.nan
    return filled


def _refused(
    missing: MissingPixels,
    message: str,
    block: NDArray[Any],
    block_info: dict[Any, Any] | None = None,
) -> NDArray[Any]:
    if block_info and missing.mask(block_info[0]["array-location"]).any():
        raise MissingPixelsError(message)
    return block
