"""Open TIFF files of all flavours; refuse damaged and ambiguous ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.stacks.image_file import ImageFile, StatedImage, UnstatedFactError
from cellcam.stacks.stack import AXES

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_COLOUR_PHOTOMETRIC = (2, 6)  # RGB, and YCbCr of JPEG, which is decoded to RGB


def open_tiff(path: Path, axes: str | None, series: int | None) -> ImageFile:
    """Open one image of a TIFF file, see `cellcam.stacks.image_file.Opener`."""
    import tifffile

    from cellcam.stacks.tiff_metadata import stated_metadata
    from cellcam.stacks.tiff_pixels import lazy_pixels

    try:
        with _complaints_as_errors(path), tifffile.TiffFile(path) as tif:
            _refuse_escaping_references(tif, path)
            index = _chosen_series(tif, path, series)
            _check_complete(tif, tif.series[index], path)
            known_axes = _stated_axes(tif, index, axes, path)
            pixels, stored = lazy_pixels(path, index, known_axes)
            metadata = stated_metadata(tif, index)
            is_colour = _is_colour(tif.series[index], known_axes)
            return ImageFile(pixels, known_axes, stored, metadata, is_colour)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make tifffile raise anything
        raise InputError(f"{path} is no TIFF that can be read: {error}.") from error


@contextmanager
def _complaints_as_errors(path: Path) -> Iterator[None]:
    """Raise what tifffile only logs: it repairs damaged files without an error."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    logger = logging.getLogger("tifffile")
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    if records:
        complaints = "; ".join(record.getMessage() for record in records[:3])
        raise InputError(f"{path} is damaged or contradicts itself: {complaints}. Export it again.")


def _refuse_escaping_references(tif: TiffFile, path: Path) -> None:
    """A multi-file OME-TIFF may only name files beside it."""
    for name in re.findall(r'FileName\s*=\s*"([^"]*)"', tif.ome_metadata or ""):
        if re.search(r"[/\\]", name) or name in (".", ".."):
            raise InputError(f"{path} refers to a file outside its folder: {name!r}. Refused.")


def _chosen_series(tif: TiffFile, path: Path, series: int | None) -> int:
    if series is None:
        full = _full_images(tif)
        if len(full) != 1:
            listed = "; ".join(f"{i}: {tif.series[i].axes} {tif.series[i].shape}" for i in full)
            raise UnstatedFactError(
                f"{path} holds {len(full)} images ({listed}). Choose one: series=... (--series).",
                _stated_images(tif, full),
            )
        series = full[0]
    if not 0 <= series < len(tif.series):
        raise InputError(f"{path} holds {len(tif.series)} images; there is no series={series}.")
    if tif.is_ome and tif.series[series].kind != "ome":
        raise InputError(
            f"{path} says it is an OME-TIFF, but its OME-XML does not describe its pages, or is "
            "kept in a companion file. Convert it into one file."
        )
    return series


def _full_images(tif: TiffFile) -> list[int]:
    """Numbers of the images that are no smaller copies of others."""
    return [i for i, image in enumerate(tif.series) if not image.keyframe.is_reduced or i == 0]


def _stated_images(tif: TiffFile, numbers: Sequence[int]) -> dict[int, StatedImage]:
    from cellcam.stacks.tiff_metadata import stated_metadata

    return {
        i: StatedImage(tif.series[i].axes, tif.series[i].shape, stated_metadata(tif, i))
        for i in numbers
    }


def _is_colour(series: TiffPageSeries, axes: str) -> bool:
    """Whether the file says that its samples, or channels, are red, green and blue."""
    letter = "S" if "S" in axes else "C"
    n = series.shape[axes.index(letter)] if letter in axes else 0
    return n in (3, 4) and series.keyframe.photometric in _COLOUR_PHOTOMETRIC


def _check_complete(tif: TiffFile, series: TiffPageSeries, path: Path) -> None:
    """Every strip or tile must be there: missing ones would be read as zeros."""
    for number, page in enumerate(series.pages):
        if page is None:
            raise InputError(f"{path}: plane {number} is missing. Export the image again.")
        offsets, counts = page.dataoffsets, page.databytecounts
        # Of a series stored in one run, the first page gives the bytes of all planes.
        stored = series.nbytes if series.dataoffset is not None else None
        ends = [o + (stored or c) for o, c in zip(offsets, counts, strict=False)]
        ends = ends[:1] if stored else ends
        size = page.parent.filehandle.size
        if len(offsets) < prod(page.chunked) or not all(offsets) or not all(counts):
            raise InputError(f"{path}: parts of plane {number} are missing. Export it again.")
        if max(ends) > size:
            raise InputError(
                f"{path} is cut off: plane {number} ends at byte {max(ends)}, the file at {size}. "
                "Copy or export it again."
            )
        if stored:
            return


def _stated_axes(tif: TiffFile, index: int, axes: str | None, path: Path) -> str:
    series = tif.series[index]
    shape = " x ".join(map(str, series.shape))
    if axes is None:
        if set(series.axes) - set(AXES + "S"):
            example = AXES[-len(series.shape) :] if len(series.shape) != 3 else "CYX"
            raise UnstatedFactError(
                f"{path} does not say what its axes mean: shape {shape}, axes {series.axes}. "
                f'Say it, one letter of TCZYX for each axis, such as axes="{example}" (--axes).',
                _stated_images(tif, [index]),
            )
        return str(series.axes)
    axes = axes.upper()
    if len(axes) != len(series.shape):
        raise InputError(f"axes={axes!r} name {len(axes)} axes, but {path} has shape {shape}.")
    return axes
