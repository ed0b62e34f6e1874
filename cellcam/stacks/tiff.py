"""Open TIFF files of all flavours; refuse damaged and ambiguous ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile, StatedImage, UnstatedFactError
from cellcam.stacks.ome_images import OmeImages
from cellcam.stacks.stack import AXES
from cellcam.stacks.tiff_file import complaints_as_errors, page_layouts, tiff_file

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_ENDINGS = (".tif", ".tiff")


def open_tiff(path: Path, axes: str | None, series: int | None) -> ImageFile:
    """Open one image of a TIFF file, see `cellcam.stacks.image_file.Opener`."""
    with readable_tiff(path) as (tif, ome):
        return _image(tif, ome, path, axes, series)


def first_shape(path: Path) -> tuple[int, ...]:
    """Shape of the first image of a TIFF file, in its own axes.

    Raises
    ------
    InputError
        If the file is damaged, or no TIFF.
    """
    with readable_tiff(path) as (tif, _):
        return tuple(tif.series[0].shape)


@contextmanager
def readable_tiff(path: Path) -> Iterator[tuple[TiffFile, OmeImages | None]]:
    """A TIFF file; all that goes wrong with it is an `InputError`."""
    check_kind(path, *_ENDINGS)
    try:
        with complaints_as_errors(path), tiff_file(path) as (tif, ome):
            yield tif, ome
    except NOT_THE_FILE:
        raise
    except Exception as error:  # a damaged file can make tifffile raise anything
        raise InputError(
            f"{path} is no TIFF that can be read: {error}. Export it again."
        ) from error


def _image(
    tif: TiffFile, ome: OmeImages | None, path: Path, axes: str | None, series: int | None
) -> ImageFile:
    from cellcam.stacks.tiff_metadata import stated_metadata
    from cellcam.stacks.tiff_pieces import missing_pieces
    from cellcam.stacks.tiff_pixels import TiffPixels, lazy_pixels
    from cellcam.stacks.tiff_values import about_values, is_colour

    index = _chosen_series(tif, ome, path, series)
    chosen = tif.series[index]
    _check_pages(chosen, path)
    known_axes = _stated_axes(tif, ome, index, axes, path)
    pixels = TiffPixels(path, index, tif)
    missing = missing_pieces(chosen, pixels.chunks, path, ome.missing_files(index) if ome else [])
    return ImageFile(
        lazy_pixels(pixels, known_axes),
        known_axes,
        pixels.chunks,
        stated_metadata(tif, ome, index),
        is_colour(chosen, known_axes),
        missing,
        ome.files(index) if ome else (),
        (*(ome.notes(index) if ome else ()), *about_values(chosen.keyframe)),
    )


def _chosen_series(tif: TiffFile, ome: OmeImages | None, path: Path, series: int | None) -> int:
    if ome is not None and (
        len(tif.series) != len(ome.descriptions) or any(image.kind != "ome" for image in tif.series)
    ):
        raise InputError(
            f"{path} says it is an OME-TIFF, but its OME-XML does not describe its pages. Export "
            "it again."
        )
    if series is None:
        full = _full_images(tif)
        if len(full) != 1:
            listed = "; ".join(f"{i}: {tif.series[i].axes} {tif.series[i].shape}" for i in full)
            raise UnstatedFactError(
                f"{path} holds {len(full)} images ({listed}). Choose one: series=... (--series).",
                _stated_images(tif, ome, full),
            )
        series = full[0]
    if not 0 <= series < len(tif.series):
        raise InputError(f"{path} holds {len(tif.series)} images; there is no series={series}.")
    return series


def _full_images(tif: TiffFile) -> list[int]:
    """Numbers of the images that are no smaller copies of others."""
    return [i for i, image in enumerate(tif.series) if not image.keyframe.is_reduced or i == 0]


def _stated_images(
    tif: TiffFile, ome: OmeImages | None, numbers: Sequence[int]
) -> dict[int, StatedImage]:
    from cellcam.stacks.tiff_metadata import stated_metadata

    return {
        i: StatedImage(tif.series[i].axes, tif.series[i].shape, stated_metadata(tif, ome, i))
        for i in numbers
    }


def _check_pages(series: TiffPageSeries, path: Path) -> None:
    """All planes are in the folder of the file, and of one size and kind."""
    folder = path.resolve().parent
    first = series.keyframe
    # A series in one run has all its planes in the first page.
    pages = [first] if series.dataoffset is not None else [page for page in series.pages if page]
    for page in {id(page.keyframe): page.keyframe for page in pages}.values():
        file = Path(page.parent.filehandle.path)
        if file.resolve().parent != folder:
            raise InputError(f"{path} refers to a file outside its folder: {file}. Refused.")
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{path}: its planes differ: {first.shape} {first.dtype} and, in {file.name}, "
                f"{page.shape} {page.dtype}. Export the image again."
            )
    # tifffile takes for granted that the other pages of a file are like its first.
    for file in {page.parent.filehandle.path for page in pages}:
        layouts = page_layouts(Path(file))
        own = [page.offset for page in pages if page.parent.filehandle.path == file]
        if len({layouts.get(offset, ()) for offset in own} - {()}) > 1:
            raise InputError(
                f"{path}: its planes differ in size, compression or kind of pixels. Export the "
                "image again."
            )


def _stated_axes(
    tif: TiffFile, ome: OmeImages | None, index: int, axes: str | None, path: Path
) -> str:
    series = tif.series[index]
    shape = " x ".join(map(str, series.shape))
    if axes is None:
        if set(series.axes) - set(AXES + "S"):
            example = AXES[-len(series.shape) :] if len(series.shape) != 3 else "CYX"
            raise UnstatedFactError(
                f"{path} does not say what its axes mean: shape {shape}, axes {series.axes}. "
                f'Say it, one letter of TCZYX for each axis, such as axes="{example}" (--axes).',
                _stated_images(tif, ome, [index]),
            )
        return str(series.axes)
    axes = axes.upper()
    if series.axes == "YX" and len(axes) > 2:
        # A single plane has no other axes, whatever the other files of a batch have.
        axes = "".join(letter for letter in axes if letter in "YX")
    if len(axes) != len(series.shape):
        raise InputError(f"axes={axes!r} name {len(axes)} axes, but {path} has shape {shape}.")
    return axes
