"""Open images of every known format as a `Stack`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.stacks.formats import Format, format_of, name_without_ending
from cellcam.stacks.image_file import ImageFile, StatedImage, UnstatedFactError
from cellcam.stacks.missing_pixels import MissingPixelsError
from cellcam.stacks.scale import plausible
from cellcam.stacks.stack import PixelSize, Stack, to_tczyx, unnamed_channels

if TYPE_CHECKING:
    import dask.array as da

_SAMPLES = ("red", "green", "blue", "alpha")


def open_stack(
    path: str | Path,
    *,
    axes: str | None = None,
    channels: Sequence[str] | None = None,
    pixel_size_um: float | Sequence[float | None] | None = None,
    time_step_s: float | None = None,
    series: int | None = None,
    tolerate_missing: bool = False,
    only_t: int | None = None,
) -> Stack:
    """Open a TIFF, OME-TIFF, ImageJ hyperstack, JPEG, PNG or OME-Zarr, reading no pixels yet.

    With the extra ``microscopes`` also CZI, ND2, LIF, SVS, NDPI and SCN. Reader plugins add
    formats, see `cellcam.stacks.formats`.

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
    tolerate_missing : count planes, tiles and chunks that are not in the file as no data (NaN);
        time points at the end of which nothing is there are left out
    only_t : the only time point that will be read: only there must nothing be missing

    Returns
    -------
    Stack

    Raises
    ------
    InputError
        If the file is missing, damaged or of no known format.
    MissingPixelsError
        An `InputError`: if parts of the image are not in the file.
    UnstatedFactError
        An `InputError`: if the axes are unknown, channels share a name, or the file holds several
        images and none was chosen.
    """
    path = Path(path)
    known = format_of(path)
    check_is_there(path, known)
    image = _checked(known.open_function()(path, axes, series), path)
    image, missing_notes = _without_missing(image, path, tolerate_missing, only_t)
    pixels, samples = _channels_of(image, path)
    stated = tuple(name for name in image.metadata.channels if name)
    names = tuple(channels or samples or (stated if len(stated) == pixels.shape[1] else ()))
    if len(set(names)) < len(names) and not channels:
        raise UnstatedFactError(
            f"{path} has channels of the same name: {', '.join(names)}. "
            "Name them with channels=[...] (--channels).",
            {series or 0: StatedImage(image.axes, image.pixels.shape, image.metadata)},
        )
    # What is not believed of a scale does not matter where the user states it.
    scale_notes = image.metadata.notes if pixel_size_um is None else ()
    size = _pixel_size(pixel_size_um, image.metadata.pixel_size_um)
    return Stack(
        data=pixels,
        channels=names or unnamed_channels(pixels.shape[1]),
        pixel_size_um=size,
        time_step_s=time_step_s or image.metadata.time_step_s,
        name=name_without_ending(path.name),
        path=path,
        channels_named=bool(names),
        stored=(image.stored[image.axes.index("Y")], image.stored[image.axes.index("X")]),
        is_colour=image.is_colour and names == _SAMPLES[: len(names)],
        notes=(*missing_notes, *image.notes, *scale_notes),
        files=image.files,
    )


def open_crops(path: str | Path, channels: Sequence[str] | None = None) -> Stack:
    """Open a stack of N crops, one for each cell, as N time points.

    Accepts N x Y x X, N x C x Y x X and N x C x Z x Y x X, under any name of the first axis.
    """
    from cellcam.stacks.tiff import first_shape

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path column of the cell table.")
    n_axes = len(first_shape(path))
    layouts = {2: "YX", 3: "TYX", 4: "TCYX", 5: "TCZYX"}
    if n_axes not in layouts:
        raise InputError(f"{path} has {n_axes} axes; a stack of crops has 3, 4 or 5.")
    return open_stack(path, axes=layouts[n_axes], channels=channels)


def check_is_there(path: Path, known: Format) -> None:
    """Raise `InputError` if there is no file, or for some formats no folder, of this path."""
    try:
        is_folder, is_file, is_there = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if is_folder if known.is_folder else is_file:
        return
    if is_folder:
        raise InputError(f"{path} is a folder, not an image. Give the images in it.")
    if is_file:
        raise InputError(
            f"{path} is a file; an image of the format {known.name} is a folder. Unpack or copy "
            "it again."
        )
    if is_there:
        raise InputError(f"{path} is a pipe, a socket or a device, not a file. Save the image.")
    kind = "folder" if known.is_folder else "file"
    raise InputError(f"There is no {kind} {path}. Check the path.")


def _checked(image: ImageFile, path: Path) -> ImageFile:
    """The image with a scale that can be believed; numbers that are no intensities are refused."""
    dtype = image.pixels.dtype
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds values of the type {dtype}, which are no intensities.")
    if 0 in image.pixels.shape:
        raise InputError(f"{path} holds no pixels: its shape is {image.pixels.shape}.")
    size, notes = plausible(image.metadata.pixel_size_um)
    metadata = replace(image.metadata, pixel_size_um=size, notes=(*image.metadata.notes, *notes))
    return replace(image, metadata=metadata)


def _without_missing(
    image: ImageFile, path: Path, tolerate: bool, only_t: int | None
) -> tuple[ImageFile, tuple[str, ...]]:
    """The image with what is missing as no data, or as errors where it will not be read."""
    missing, axes = image.missing, image.axes
    if missing is None:
        return image, ()
    if missing.absent.all():
        raise InputError(
            f"{path}: all its pixels are missing ({missing.cause or 'none is stored'}). Copy or "
            "export it again."
        )
    if tolerate:
        pixels = missing.as_no_data(image.pixels)
        empty = set(missing.empty_times(axes)) if "T" in axes else set()
        n_times = pixels.shape[axes.index("T")] if "T" in axes else 1
        kept = n_times
        while kept - 1 in empty:
            kept -= 1
        notes = [missing.note(axes)]
        if kept < n_times:
            pixels = pixels[tuple(slice(kept if a == "T" else None) for a in axes)]
            notes.append(f"{n_times - kept} of {n_times} time points were left out.")
        return replace(image, pixels=pixels), tuple(notes)
    message = missing.message(path, axes)
    if only_t is None or only_t not in missing.complete_times(axes):
        raise MissingPixelsError(message)
    return replace(image, pixels=missing.as_errors(image.pixels, message)), ()


def _channels_of(image: ImageFile, path: Path) -> tuple[da.Array, tuple[str, ...]]:
    """TCZYX pixels with colour samples as channels, and the names of the samples."""
    axes = image.axes
    if "S" not in axes:
        pixels = to_tczyx(image.pixels, axes)
        return pixels, _SAMPLES[: pixels.shape[1]] if image.is_colour else ()
    if "C" in axes:
        raise InputError(f"{path} has both channels and colour samples ({axes}). Split it first.")
    pixels = to_tczyx(image.pixels, axes.replace("S", "C"))
    # Other samples are stains, or inks, that the writer stored in a pixel: not red and green.
    return pixels, _SAMPLES[: pixels.shape[1]] if image.is_colour else ()


def _pixel_size(given: float | Sequence[float | None] | None, stated: PixelSize) -> PixelSize:
    if given is None:
        return stated
    sizes = (given, given) if isinstance(given, int | float) else tuple(given)
    if len(sizes) not in (2, 3) or any(size is not None and not 0 < size < inf for size in sizes):
        raise InputError(f"pixel_size_um={given!r}: give one positive number, (y, x) or (z, y, x).")
    return PixelSize(*sizes) if len(sizes) == 3 else PixelSize(stated.z, *sizes)
