"""Open microscopy images: lazy pixels, nothing guessed, damaged files refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.stacks import pictures
from cellcam.stacks.stack import AXES, PixelSize, Stack, to_tczyx, unnamed_channels
from cellcam.stacks.tiff_metadata import Described, describe

if TYPE_CHECKING:
    import dask.array as da
    from tifffile import TiffFile, TiffPageSeries

_SAMPLES = ("red", "green", "blue", "alpha")


def open_stack(
    path: str | Path,
    *,
    axes: str | None = None,
    channels: Sequence[str] | None = None,
    pixel_size_um: float | Sequence[float | None] | None = None,
    time_step_s: float | None = None,
    series: int | None = None,
) -> Stack:
    """Open a TIFF, OME-TIFF, ImageJ hyperstack, JPEG, PNG or OME-Zarr, reading no pixels yet.

    Stored values are kept as they are: no scaling, no colour table, no inversion. RGB samples
    become the channels red, green, blue. Of a pyramid the full resolution is opened.

    Parameters
    ----------
    path : file
    axes : the file's axes in its own order, such as ``"CYX"`` or ``"TZYX"``
        Needed where the file does not state them; overrules the file where it does.
        Letters: T, C, Z, Y, X, and S for colour samples.
    channels : names, overruling the file's
    pixel_size_um : one number for y and x, or (y, x), or (z, y, x), overruling the file's
    time_step_s : seconds between time points, overruling the file's
    series : which image, where the file holds several (counted from 0)

    Returns
    -------
    Stack

    Raises
    ------
    InputError
        If the file is missing, damaged or of no known format; if its axes are unknown, or it holds
        several images and none was chosen.
    """
    path = Path(path)
    if path.is_dir() and path.suffix == ".zarr":
        from cellcam.stacks.ome_zarr import open_zarr_stack

        return open_zarr_stack(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path.")
    if path.suffix.lower() in pictures.ENDINGS:
        data, known_axes = pictures.lazy_picture(path)
        described, chunks = Described(), data.shape
    else:
        data, known_axes, described, chunks = _opened_tiff(path, axes, series)
    data, names = _channels_of(data, known_axes, path)
    stated = [name for name in described.channels if name]
    if not names and len(stated) == data.shape[1]:
        names = tuple(stated)
    names = tuple(channels or names)
    return Stack(
        data=data,
        channels=names or unnamed_channels(data.shape[1]),
        pixel_size_um=_pixel_size(pixel_size_um, described.pixel_size_um),
        time_step_s=time_step_s or described.time_step_s,
        name=re.sub(r"(\.ome)?\.(tiff?|jpe?g|png|bmp)$", "", path.name, flags=re.IGNORECASE),
        path=path,
        channels_named=bool(names),
        stored=(chunks[known_axes.index("Y")], chunks[known_axes.index("X")]),
    )


def _opened_tiff(
    path: Path, axes: str | None, series: int | None
) -> tuple[da.Array, str, Described, tuple[int, ...]]:
    """Pixels in the file's axes, these axes, what it says about itself, what it stores together."""
    import tifffile

    from cellcam.stacks.tiff_pixels import lazy_pixels

    try:
        with _complaints_as_errors(path), tifffile.TiffFile(path) as tif:
            _refuse_escaping_references(tif, path)
            index = _chosen_series(tif, path, series)
            _check_complete(tif, tif.series[index], path)
            known_axes = _stated_axes(tif.series[index], axes, path)
            data, chunks = lazy_pixels(path, index)
            return data, known_axes, describe(tif, index), chunks
    except InputError:
        raise
    except Exception as error:  # a damaged file can make tifffile raise anything
        raise InputError(f"{path} is no TIFF that can be read: {error}.") from error


def open_crops(path: str | Path, channels: Sequence[str] | None = None) -> Stack:
    """Open a stack of crops, one cell a page group; the first axis is the crop, as T.

    Accepts N x Y x X, N x C x Y x X and N x C x Z x Y x X, whatever the file calls the first
    axis.
    """
    import tifffile

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path column of the cell table.")
    with tifffile.TiffFile(path) as tif:
        n_axes = len(tif.series[0].shape)
    layouts = {2: "YX", 3: "TYX", 4: "TCYX", 5: "TCZYX"}
    if n_axes not in layouts:
        raise InputError(f"{path} has {n_axes} axes; a stack of crops has 3, 4 or 5.")
    return open_stack(path, axes=layouts[n_axes], channels=channels)


@contextmanager
def _complaints_as_errors(path: Path) -> Iterator[None]:
    """Tifffile repairs damaged files silently and only logs it: turn the log into an error."""
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
        said = "; ".join(record.getMessage() for record in records[:3])
        raise InputError(f"{path} is damaged or contradicts itself: {said}. Export it again.")


def _refuse_escaping_references(tif: TiffFile, path: Path) -> None:
    """A multi-file OME-TIFF may only name files beside it."""
    for name in re.findall(r'FileName\s*=\s*"([^"]*)"', tif.ome_metadata or ""):
        if re.search(r"[/\\]", name) or name in (".", ".."):
            raise InputError(f"{path} refers to a file outside its folder: {name!r}. Refused.")


def _chosen_series(tif: TiffFile, path: Path, series: int | None) -> int:
    if series is None:
        full = [i for i, one in enumerate(tif.series) if not one.keyframe.is_reduced or i == 0]
        if len(full) != 1:
            listed = "; ".join(f"{i}: {tif.series[i].axes} {tif.series[i].shape}" for i in full)
            raise InputError(
                f"{path} holds {len(full)} images ({listed}). Choose one: series=... (--series)."
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


def _check_complete(tif: TiffFile, series: TiffPageSeries, path: Path) -> None:
    """Every strip or tile must be there: missing ones would be read as zeros."""
    for number, page in enumerate(series.pages):
        if page is None:
            raise InputError(f"{path}: plane {number} is missing. Export the image again.")
        offsets, counts = page.dataoffsets, page.databytecounts
        # A series stored in one run describes all its planes by the first page.
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


def _stated_axes(series: TiffPageSeries, axes: str | None, path: Path) -> str:
    shape = " x ".join(map(str, series.shape))
    if axes is None:
        if set(series.axes) - set(AXES + "S"):
            example = AXES[-len(series.shape) :] if len(series.shape) != 3 else "CYX"
            raise InputError(
                f"{path} does not say what its axes mean: shape {shape}, axes {series.axes}. "
                f'Say it, one letter of TCZYX for each axis, such as axes="{example}" (--axes).'
            )
        return str(series.axes)
    axes = axes.upper()
    if len(axes) != len(series.shape):
        raise InputError(f"axes={axes!r} name {len(axes)} axes, but {path} has shape {shape}.")
    return axes


def _channels_of(data: da.Array, axes: str, path: Path) -> tuple[da.Array, tuple[str, ...]]:
    """TCZYX pixels, with colour samples as channels, and the samples' names."""
    if "S" not in axes:
        return to_tczyx(data, axes), ()
    if "C" in axes:
        raise InputError(f"{path} has both channels and colour samples ({axes}). Split it first.")
    data = to_tczyx(data, axes.replace("S", "C"))
    return data, _SAMPLES[: data.shape[1]] if data.shape[1] <= len(_SAMPLES) else ()


def _pixel_size(given: float | Sequence[float | None] | None, stated: PixelSize) -> PixelSize:
    if given is None:
        return stated
    sizes = (given, given) if isinstance(given, int | float) else tuple(given)
    if len(sizes) not in (2, 3) or any(size is not None and size <= 0 for size in sizes):
        raise InputError(f"pixel_size_um={given!r}: give one positive number, (y, x) or (z, y, x).")
    return PixelSize(*sizes) if len(sizes) == 3 else PixelSize(stated.z, *sizes)
