"""Strips and tiles of a TIFF: are they all there, and as large as is declared?"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.missing_pixels import MissingPixels

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries

_MOST_PIECES, _ALWAYS = 2**26, 2**18
# Compressed, real images shrink a few times, blank ones a thousand times. Blank ones of this size
# are taken for an attack.
_LARGE, _LARGEST_RATIO = 2**30, 500
_SLACK = 2**20  # bytes that a compressed piece may be larger than its pixels, beyond twice


@dataclass(frozen=True, eq=False)
class Pieces:
    """Strips or tiles of all planes of a series.

    Attributes
    ----------
    absent : (planes, pieces of a plane) bool
    stored_bytes : of all that are there
    cut_at : end of the last piece that a file is too short for, and the file's size; or None
    """

    absent: NDArray[np.bool_]
    stored_bytes: int
    cut_at: tuple[int, int] | None

    @classmethod
    def of(cls, series: TiffPageSeries, path: Path) -> Pieces:
        """Pieces of a series, found in the lists of offsets; none is read.

        Raises
        ------
        InputError
            If more are declared than any image has.
        """
        keyframe = series.keyframe
        n_planes = max(1, prod(series.shape) // max(1, keyframe.size))
        per_plane = prod(keyframe.chunked)
        # Each takes at least a byte, but those of files that are missing.
        most = min(_MOST_PIECES, max(_ALWAYS, keyframe.parent.filehandle.size))
        if n_planes * per_plane > most:
            raise InputError(
                f"{path} declares {n_planes * per_plane} strips or tiles for an image of "
                f"{' x '.join(map(str, series.shape))}. Refused; export it again."
            )
        if len(keyframe.dataoffsets) < per_plane / 2:
            raise InputError(
                f"{path} declares {per_plane} strips or tiles and lists "
                f"{len(keyframe.dataoffsets)}. Refused; export it again."
            )
        if series.dataoffset is not None:
            _check_counts(keyframe, series.nbytes, path)
            return cls._of_run(series, n_planes, per_plane)
        absent = np.ones((n_planes, per_plane), bool)
        stored, cut_at = 0, None
        for number, page in enumerate(series.pages[:n_planes]):
            if page is None:
                continue
            _check_counts(page, series.nbytes, path)
            offsets = _padded(page.dataoffsets, per_plane)
            counts = _padded(page.databytecounts, per_plane)
            size = page.parent.filehandle.size
            beyond = offsets + counts > size
            if beyond.any():
                cut_at = int((offsets + counts).max()), size
            absent[number] = (offsets == 0) | (counts == 0) | beyond
            stored += int(counts[~absent[number]].sum())
        return cls(absent, stored, cut_at)

    @classmethod
    def _of_run(cls, series: TiffPageSeries, n_planes: int, per_plane: int) -> Pieces:
        """Of a series stored in one run, the first page gives the place of all planes."""
        page, bytes_of_plane = series.keyframe, series.nbytes // n_planes
        offsets = _padded(page.dataoffsets, per_plane)
        # Some writers give the first strip the bytes of all planes.
        counts = np.minimum(_padded(page.databytecounts, per_plane), bytes_of_plane)
        ends = np.arange(n_planes)[:, None] * bytes_of_plane + offsets + counts
        size = page.parent.filehandle.size
        absent = (offsets == 0) | (counts == 0) | (ends > size)
        cut_at = (int(ends.max()), size) if (ends > size).any() else None
        return cls(absent, int((counts * ~absent).sum()), cut_at)


def missing_pieces(
    series: TiffPageSeries, stored: tuple[int, ...], path: Path, missing_files: list[str]
) -> MissingPixels | None:
    """The pieces of a series that are not in its files, or None; readers take them for zeros.

    Parameters
    ----------
    stored : shape of a piece along the axes of the series
    missing_files : names of files of the image that are not there

    Raises
    ------
    InputError
        If the pieces are too small or too large to be the image that is declared.
    """
    pieces = Pieces.of(series, path)
    _check_sizes(series, pieces, path)
    if not pieces.absent.any():
        return None
    grid = [-(-n // size) for n, size in zip(series.shape, stored, strict=True)]
    return MissingPixels(pieces.absent.reshape(grid), stored, _cause(pieces, missing_files))


def _cause(pieces: Pieces, missing_files: list[str]) -> str:
    if missing_files:
        listed = ", ".join(missing_files[:3])
        rest = f" and {len(missing_files) - 3} more files" if len(missing_files) > 3 else ""
        return f"{listed}{rest} of its set are not there"
    if pieces.cut_at:
        end, size = pieces.cut_at
        return f"it is cut off: its pixels end at byte {end}, the file at {size}"
    return ""


def _check_sizes(series: TiffPageSeries, pieces: Pieces, path: Path) -> None:
    page = series.keyframe
    if pieces.absent.all() and series.nbytes > _LARGE:  # before anything is laid out for them
        raise InputError(
            f"{path} declares {series.nbytes / 2**30:.1f} GiB, and all its pixels are missing. "
            "Copy or export it again."
        )
    declared = int(series.nbytes * (1 - pieces.absent.mean()))
    if page.compression == 1 and not pieces.absent.any():
        bits = prod(series.shape) * _bits(page)
        if pieces.stored_bytes < bits // 8:
            raise InputError(
                f"{path} is damaged: it declares {bits // 8} bytes of pixels and lists "
                f"{pieces.stored_bytes}. Export it again."
            )
    if declared > _LARGE and declared > _LARGEST_RATIO * pieces.stored_bytes:
        raise InputError(
            f"{path} declares {declared / 2**30:.1f} GiB of pixels in "
            f"{pieces.stored_bytes / 2**20:.1f} MiB: it is blank, or made to fill the memory. "
            "Refused; if it is an image, export a part of it, or export it uncompressed."
        )


def _check_counts(page: TiffPage, decoded: int, path: Path) -> None:
    """Refuse a strip or tile of more bytes than file and image have: memory for it is asked for."""
    largest, size = max(page.databytecounts, default=0), page.parent.filehandle.size
    if largest > max(size, 2 * decoded + _SLACK):
        raise InputError(
            f"{path} is damaged: it declares a strip or tile of {largest} bytes in a file of "
            f"{size}. Copy or export it again."
        )


def _bits(page: TiffPage) -> int:
    bits = page.bitspersample
    return min(bits) if isinstance(bits, tuple) else int(bits)


def _padded(numbers: tuple[int, ...], length: int) -> NDArray[np.int64]:
    """Offsets or sizes of the pieces of a plane, 0 for those that are not listed."""
    padded = np.zeros(length, np.int64)
    listed = np.array([min(n, 2**62) for n in numbers[:length]], np.int64)
    padded[: len(listed)] = listed
    return padded
