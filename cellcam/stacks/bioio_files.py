"""Open files of microscopes through the reader plugins of bioio, plane by plane.

The plugins name axes, channels and scale. What they fill in where a file says nothing, and planes
that are not there, which they read as zeros, are found by the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.image_file import ImageFile, Metadata, StatedImage, UnstatedFactError
from cellcam.stacks.missing_pixels import MissingPixels
from cellcam.stacks.optional_packages import reading_package
from cellcam.stacks.stack import AXES, PixelSize

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr


class Facts(NamedTuple):
    """What a file says about an image that its plugin does not.

    Attributes
    ----------
    calibrated : whether the pixel size along z, y and x is stated, and no default
    time_step_s : seconds between time points, where the plugin does not know
    absent : planes that are not in the file, along T, C and Z where the image has these axes
    """

    calibrated: tuple[bool, bool, bool] = (True, True, True)
    time_step_s: float | None = None
    absent: NDArray[np.bool_] | None = None


FactsOf = Callable[[Path, int, "xr.DataArray"], Facts]


def open_with_plugin(path: Path, package: str, series: int | None, facts_of: FactsOf) -> ImageFile:
    """Open one image of a file that states its axes, see `cellcam.stacks.image_file.Opener`.

    Parameters
    ----------
    package : the plugin's, such as ``"bioio-nd2"``
    facts_of : facts about the image of this number
    """
    plugin = reading_package(package.replace("-", "_"), package, path)
    with _damage_as_errors(path):
        reader = plugin.Reader(str(path))
        number = _chosen(reader, path, series)
        reader.set_scene(number)
        image = reader.xarray_dask_data
        facts = facts_of(path, number, image)
        metadata = _metadata(reader, image, facts)
    pixels, axes = _known_axes(image, path)
    lazy = PluginPixels(path, pixels)
    planes = tuple(n if axis in "YX" else 1 for axis, n in zip(axes, pixels.shape, strict=True))
    return ImageFile(
        _lazy(lazy, planes), axes, planes, metadata, missing=_missing(facts, axes, planes)
    )


class PluginPixels:
    """Array-like view of a plugin's pixels whose errors name the file."""

    def __init__(self, path: Path, pixels: da.Array) -> None:
        self.path, self.pixels = path, pixels
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[np.generic]:
        with _damage_as_errors(self.path):
            # Within a worker, which must not wait for others.
            read = np.asarray(self.pixels[region].compute(scheduler="synchronous"))
            if read.dtype != self.dtype:
                raise ValueError(f"values of the type {read.dtype}, not {self.dtype}")
        return read


def _lazy(pixels: PluginPixels, chunks: tuple[int, ...]) -> da.Array:
    import dask.array as da

    # Plugins share one open file between threads, and close it after each read.
    return da.from_array(pixels, chunks=chunks, lock=True, asarray=False, fancy=False, name=False)


@contextmanager
def _damage_as_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except NOT_THE_FILE:
        raise
    except Exception as error:  # plugins raise what they like
        raise InputError(
            f"{path} is damaged, or of a kind that its reader does not know ({error!r}). Copy it "
            "again, or export it as OME-TIFF with the microscope's software."
        ) from error


def _chosen(reader: Any, path: Path, series: int | None) -> int:
    names = reader.scenes
    if series is None and len(names) > 1:
        listed = "; ".join(f"{i}: {name}" for i, name in enumerate(names))
        raise UnstatedFactError(
            f"{path} holds {len(names)} images ({listed}). Choose one: series=... (--series).",
            dict(_stated_images(reader)),
        )
    number = series or 0
    if not 0 <= number < len(names):
        raise InputError(f"{path} holds {len(names)} images; there is no series={number}.")
    return number


def _stated_images(reader: Any) -> Iterator[tuple[int, StatedImage]]:
    for number in range(len(reader.scenes)):
        reader.set_scene(number)
        image = reader.xarray_dask_data
        axes = "".join(axis if len(axis) == 1 else "Q" for axis in map(str, image.dims))
        yield number, StatedImage(axes, image.shape, _metadata(reader, image, Facts()))


def _known_axes(image: xr.DataArray, path: Path) -> tuple[da.Array, str]:
    """Pixels without further axes of length 1, and their axes."""
    sizes = {str(axis): n for axis, n in image.sizes.items()}
    if sizes.get("S", 1) > 1:
        raise InputError(
            f"{path} holds colour samples, whose order its reader does not state. Export it as "
            "TIFF with the microscope's software."
        )
    others = {axis: n for axis, n in sizes.items() if axis not in AXES and n > 1}
    if others:
        listed = ", ".join(f"{n} along {axis}" for axis, n in others.items())
        merged = " Merge its tiles first, in the microscope's software." if "M" in others else ""
        raise InputError(
            f"{path} has axes that CellCam does not know: {listed}.{merged} Export a part of it as "
            "OME-TIFF."
        )
    index = tuple(slice(None) if axis in AXES else 0 for axis in sizes)
    return image.data[index], "".join(axis for axis in sizes if axis in AXES)


def _metadata(reader: Any, image: xr.DataArray, facts: Facts) -> Metadata:
    sizes = zip(reader.physical_pixel_sizes, facts.calibrated, strict=True)
    known = (float(n) if n and n > 0 and stated else None for n, stated in sizes)
    interval = reader.time_interval
    step = interval.total_seconds() if interval else facts.time_step_s
    names = image.coords["C"].values if "C" in image.coords else ()
    return Metadata([str(name) for name in names], PixelSize(*known), step or None)


def _missing(facts: Facts, axes: str, planes: tuple[int, ...]) -> MissingPixels | None:
    if facts.absent is None or not facts.absent.any():
        return None
    outer = iter(facts.absent.shape)
    return MissingPixels(
        facts.absent.reshape([1 if axis in "YX" else next(outer) for axis in axes]), planes
    )
