"""Stacks as napari layers: one for each channel, with name, colour, scale, units and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, PixelSize, Stack

if TYPE_CHECKING:
    import dask.array as da
    import napari
    from napari.layers import Layer
    from numpy.typing import NDArray

# Pixels, attributes and type of a layer, as napari's readers and writers exchange them.
LayerData = tuple[object, dict[str, object], str]

# Percentiles of the pixels that are drawn black and white, measured up to this distance from the
# middle of a plane.
_SHOWN, _HALF_MEASURED = (0.1, 99.9), 1024
# Part of the median that all pixels with data exceed, where zeros are fill.
_FAR = 0.2
# Pixels of a plane along each axis that the percentiles are taken from, at most.
_SAMPLED = 512
# The first three are easy to distinguish: DNA, cytoskeleton and a marker.
_COLOURS_OF_SAMPLES = ("red", "green", "blue", "gray")
_COLOURS = ("bop blue", "green", "magenta", "yellow", "cyan", "red")


class Placement(TypedDict, total=False):
    """Attributes that place a layer in the viewer, one item for each axis of the layer."""

    scale: Sequence[float] | NDArray[np.float64]
    translate: Sequence[float] | NDArray[np.float64]
    units: Sequence[object]
    axis_labels: Sequence[str]


class FileFacts(NamedTuple):
    """What the user said about a file when it was opened, see `cellcam.open_stack`."""

    axes: str | None = None
    channels: tuple[str, ...] | None = None
    series: int | None = None
    pixel_size_um: tuple[float | None, float | None, float | None] | None = None
    time_step_s: float | None = None
    tolerate_missing: bool = False


_UNSAID = FileFacts()
# ``unit`` is that of the pixel values; ``notes`` are those of the stack; ``given`` is what the user
# said about the file; ``axes``, ``stated_um`` and ``stated_s`` what the file states of the layer.
CellCamMetadata = TypedDict(
    "CellCamMetadata",
    {
        "path": str,
        "channel": str,
        "image": str,
        "model": str,
        "class": str,
        "unit": str,
        "notes": tuple[str, ...],
        "preview": bool,
        "is_colour": bool,
        "given": FileFacts,
        "axes": str,
        "stated_um": PixelSize,
        "stated_s": float | None,
    },
    total=False,
)


def cellcam_metadata(layer: Layer) -> CellCamMetadata:
    """Metadata that CellCam gave to a layer; empty for other layers."""
    metadata: CellCamMetadata = layer.metadata.get("cellcam", {})
    return metadata


def stack_layers(stack: Stack, given: FileFacts = _UNSAID) -> list[LayerData]:
    """One image layer for each channel of a stack, lazily read; one RGB layer for a picture.

    An RGB layer has no contrast, so that pictures of more than 8 bits, in which most values are
    dark, are three layers in red, green and blue.

    Parameters
    ----------
    given : what the user said about the file

    Axes of length 1 in front of y and x are dropped; the others keep the stack's scale, in um for
    z, y, x, in s for t, and in pixels where it is unknown.
    """
    single = len(stack.channels) == 1
    placement = stack_placement(stack)
    stated = UNKNOWN_PIXEL_SIZE if given.pixel_size_um else stack.pixel_size_um
    metadata: CellCamMetadata = {
        "path": str(stack.path),
        "given": given,
        "axes": _kept_axes(stack),
        "stated_um": stated,
        "stated_s": None if given.time_step_s else stack.time_step_s,
        "notes": stack.notes,
        "is_colour": stack.is_colour,
    }
    if stack.is_colour and stack.data.dtype == np.uint8:
        return [_rgb_layer(stack, metadata, placement)]
    colours = _COLOURS_OF_SAMPLES if stack.is_colour else _COLOURS
    return [
        (
            channel_pixels(stack, index),
            {
                "name": f"{stack.name} {name}" if single else name,
                "colormap": "gray" if single else colours[index % len(colours)],
                "blending": "additive",
                "contrast_limits": _display_range(channel_pixels(stack, index)),
                "metadata": {"cellcam": {**metadata, "channel": name}},
                **placement,
            },
            "image",
        )
        for index, name in enumerate(stack.channels)
    ]


def _rgb_layer(stack: Stack, metadata: CellCamMetadata, placement: Placement) -> LayerData:
    import dask.array as da

    kept = _kept_axes(stack)
    pixels = da.moveaxis(stack.data, 1, -1)
    index = tuple(slice(None) if axis in kept else 0 for axis in "TZYX")
    attributes = {"name": stack.name, "rgb": True, "metadata": {"cellcam": metadata}, **placement}
    return pixels[index], attributes, "image"


def add_stack(viewer: napari.viewer.Viewer, stack: Stack) -> list[Layer]:
    """Add a stack that was opened in Python, for files whose axes or series must be named."""
    from napari.layers import Layer

    return [viewer.add_layer(Layer.create(*layer)) for layer in stack_layers(stack)]


def channel_pixels(stack: Stack, index: int) -> da.Array:
    """Lazy pixels of one channel, without axes of length 1 in front of y and x."""
    kept = _kept_axes(stack)
    return stack.data[:, index][tuple(slice(None) if axis in kept else 0 for axis in "TZYX")]


def stack_placement(stack: Stack) -> Placement:
    """Scale, units and axis labels of layers with the pixels of `channel_pixels`."""
    kept = _kept_axes(stack)
    return {
        "scale": [_step(stack, axis) or 1.0 for axis in kept],
        "units": [_unit(stack, axis) for axis in kept],
        "axis_labels": [axis.lower() for axis in kept],
    }


def _display_range(pixels: da.Array) -> tuple[float, float]:
    """Contrast limits of a channel, from its first, middle and last plane.

    napari would take them from the first plane, which is often empty. Single hot or dead pixels
    do not count; of large planes only the middle is measured, and only each n-th pixel of it.
    """
    n_planes, (height, width) = math.prod(pixels.shape[:-2]), pixels.shape[-2:]
    middle = tuple(
        slice(max(0, n // 2 - _HALF_MEASURED), n // 2 + _HALF_MEASURED) for n in (height, width)
    )
    thinned = tuple(
        slice(None, None, max(1, min(n, 2 * _HALF_MEASURED) // _SAMPLED)) for n in (height, width)
    )
    numbers = sorted({0, n_planes // 2, n_planes - 1})
    places = [np.unravel_index(number, pixels.shape[:-2]) for number in numbers]
    measured = np.concatenate(
        [np.asarray(pixels[(*map(int, place), *middle)])[thinned].ravel() for place in places]
    )
    measured = measured.astype(np.float64)
    measured = _without_fill(measured[np.isfinite(measured)])
    low, high = np.percentile(measured, _SHOWN) if measured.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def _without_fill(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts without the zeros of a mosaic's fill, where all others lie far above them."""
    others = counts[counts != 0]
    if len(others) == len(counts) or len(others) < len(counts) / 2:
        return counts  # zeros are the background where they are most of a picture
    low, middle = np.percentile(others, (_SHOWN[0], 50))
    return others if low > _FAR * middle > 0 else counts


def _kept_axes(stack: Stack) -> str:
    t, _, z, _, _ = stack.data.shape
    return ("T" if t > 1 else "") + ("Z" if z > 1 else "") + "YX"


def _step(stack: Stack, axis: str) -> float | None:
    return stack.time_step_s if axis == "T" else getattr(stack.pixel_size_um, axis.lower())


def _unit(stack: Stack, axis: str) -> str:
    if _step(stack, axis) is None:
        return "pixel"
    return "second" if axis == "T" else "micrometer"
