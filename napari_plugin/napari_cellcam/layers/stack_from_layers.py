"""Image and labels layers as stacks, and the placement of results on these layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError
from cellcam.stacks.stack import PixelSize, Stack, to_tczyx
from napari_cellcam.layers.channel_sources import (
    ColourSample,
    are_colours,
    full_resolution,
    layer_shape,
    source_layer,
    source_pixels,
)
from napari_cellcam.layers.stack_layers import cellcam_metadata

if TYPE_CHECKING:
    import dask.array as da
    from napari.layers import Image, Labels, Layer
    from numpy.typing import NDArray

    from napari_cellcam.layers.stack_layers import Placement

_GUESSES = {2: "YX", 3: "ZYX", 4: "TZYX"}
# An axis without label is T or Z only if its unit is compatible with this unit.
_UNIT_OF_AXIS = {"T": "second", "Z": "micrometer"}


def layer_axes(layer: Layer) -> str:
    """Axes of a layer, letters of TZYX: from its labels and units, or guessed.

    The first of three axes is T in a unit of time, otherwise Z. Empty if there is no guess.
    """
    named = "".join(label.upper() for label in layer.axis_labels)
    if set(named) <= set("TZYX") and len(set(named)) == len(named) == layer.ndim:
        return named
    if layer.ndim == 3 and layer.units[0].is_compatible_with("second"):
        return "TYX"
    return _GUESSES.get(layer.ndim, "")


def axes_are_known(layer: Layer) -> bool:
    """Whether the axes of a layer follow from its labels or units, and are no guess."""
    axes = layer_axes(layer)
    named = axes == "".join(layer.axis_labels).upper()
    measured = all(
        unit.is_compatible_with(_UNIT_OF_AXIS[axis])
        for axis, unit in zip(axes[:-2], layer.units, strict=False)
    )
    return bool(axes) and (named or measured)


def stack_from_layers(layers: Mapping[str, Image | ColourSample], axes: str) -> Stack:
    """Stack with one channel for each layer, or colour of an RGB layer; nothing is read or copied.

    Parameters
    ----------
    layers : source of each channel, all of one shape
    axes : axes of the layers, letters of TZYX

    Raises
    ------
    InputError
        If the layers differ in shape or scale, if a whole RGB layer is meant to be one channel, or
        if the axes do not fit the layers.
    """
    import dask.array as da

    chosen = [source_layer(source) for source in layers.values()]
    first = chosen[0]
    for source in layers.values():
        if not isinstance(source, ColourSample) and source.rgb:
            raise InputError(f"{source.name} is an RGB image. Split it (right click, Split RGB).")
    for layer in chosen:
        if layer_shape(layer) != layer_shape(first) or not np.allclose(layer.scale, first.scale):
            raise InputError(f"{layer.name} and {first.name} differ in shape or scale.")
    if len(axes) != first.ndim or axes[-2:] != "YX" or not set(axes[:-2]) <= set("TZ"):
        raise InputError(
            f"Axes {axes!r} do not fit {first.name}, which has {first.ndim} axes: write one "
            "letter for each axis, T or Z first and YX at the end."
        )
    whole = tuple(slice(None) if axis in axes else None for axis in "TZYX")
    order = [axes.index(axis) for axis in "TZYX" if axis in axes]
    planes = [
        da.transpose(_lazy(source_pixels(source)), order)[whole][:, None]
        for source in layers.values()
    ]
    return Stack(
        data=da.concatenate(planes, axis=1),
        channels=tuple(layers),
        pixel_size_um=layer_pixel_size(first, axes),
        time_step_s=layer_time_step(first, axes),
        name=first.name,
        is_colour=are_colours(layers.values()),
        notes=cellcam_metadata(first).get("notes", ()),
    )


def layer_pixel_size(layer: Layer, axes: str) -> PixelSize:
    """Pixel size of a layer along z, y and x; None where its unit is not one of length."""
    return PixelSize(*(_step(layer, axes, axis, "micrometer") for axis in "ZYX"))


def n_planes(layer: Layer, axes: str) -> int:
    """Planes along z of a layer; its axes are the last of ``axes``, letters of TZYX."""
    own = dict(zip(reversed(axes), reversed(layer_shape(layer)), strict=False))
    return own.get("Z", 1)


def layer_time_step(layer: Layer, axes: str) -> float | None:
    """Seconds between time points of a layer; None where its unit is not one of time."""
    return _step(layer, axes, "T", "second")


def stack_from_labels(layer: Labels, axes: str) -> Stack:
    """The user's labels as a stack of one channel; ``axes`` are those of the image."""
    data = _lazy(full_resolution(layer))
    return Stack(to_tczyx(data, axes[-layer.ndim :]), ("cells",), name=layer.name)


def plane_in_view(layer: Layer, axes: str, point: Sequence[float]) -> dict[str, int]:
    """Indices along T and Z of the plane of a layer that a viewer shows.

    Parameters
    ----------
    point : the viewer's position in world coordinates, one number for each of its axes
    """
    position = layer.world_to_data(point[len(point) - layer.ndim :])
    shape = layer_shape(layer)
    return {
        axis: int(np.clip(round(float(index)), 0, n - 1))
        for axis, index, n in zip(axes, position, shape, strict=True)
        if axis in "TZ"
    }


def layer_placement(layer: Layer, axes: str, kept: str) -> Placement:
    """Placement of a result with axes ``kept`` on a layer with axes ``axes``."""
    index = [axes.index(axis) for axis in kept]
    return {
        "scale": np.asarray(layer.scale)[index],
        "translate": np.asarray(layer.translate)[index],
        "units": [layer.units[i] for i in index],
        "axis_labels": [layer.axis_labels[i] for i in index],
    }


def _lazy(pixels: NDArray[np.generic] | da.Array) -> da.Array:
    """Pixels as a dask array; those in memory are not hashed for a name, as Dask would."""
    import dask.array as da

    return (
        da.from_array(pixels, name=False) if isinstance(pixels, np.ndarray) else da.asarray(pixels)
    )


def _step(layer: Layer, axes: str, axis: str, unit: str) -> float | None:
    """Pixel spacing along an axis in ``unit``; None if the axis has no such unit."""
    if axis not in axes:
        return None
    index = axes.index(axis)
    layer_unit = layer.units[index]
    if not layer_unit.is_compatible_with(unit):
        return None
    return float(layer.scale[index] * (1 * layer_unit).to(unit).magnitude)
