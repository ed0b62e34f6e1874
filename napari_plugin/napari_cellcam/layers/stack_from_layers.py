"""Image and labels layers as stacks, and the placement of results on these layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError
from cellcam.stacks.stack import PixelSize, Stack, to_tczyx

if TYPE_CHECKING:
    import dask.array as da
    from napari.layers import Image, Labels, Layer
    from numpy.typing import NDArray

    from napari_cellcam.layers.stack_layers import Placement

_GUESSES = {2: "YX", 3: "ZYX", 4: "TZYX"}


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


def stack_from_layers(layers: Mapping[str, Image], axes: str) -> Stack:
    """Stack with one channel for each layer; nothing is read or copied.

    Parameters
    ----------
    layers : image layer of each channel, all of one shape
    axes : axes of the layers, letters of TZYX

    Raises
    ------
    InputError
        If the layers differ in shape or scale or are RGB, or if the axes do not fit them.
    """
    import dask.array as da

    chosen = list(layers.values())
    first = chosen[0]
    for layer in chosen:
        if layer.rgb:
            raise InputError(f"{layer.name} is an RGB image. Split it (right click, Split RGB).")
        if layer.data.shape != first.data.shape or not np.allclose(layer.scale, first.scale):
            raise InputError(f"{layer.name} and {first.name} differ in shape or scale.")
    if len(axes) != first.ndim or axes[-2:] != "YX" or not set(axes[:-2]) <= set("TZ"):
        raise InputError(
            f"Axes {axes!r} do not fit {first.name}, which has {first.ndim} axes: write one "
            "letter for each axis, T or Z first and YX at the end."
        )
    whole = tuple(slice(None) if axis in axes else None for axis in "TZYX")
    order = [axes.index(axis) for axis in "TZYX" if axis in axes]
    planes = [
        da.transpose(da.asarray(_full_resolution(layer)), order)[whole][:, None] for layer in chosen
    ]
    return Stack(
        data=da.concatenate(planes, axis=1),
        channels=tuple(layers),
        pixel_size_um=layer_pixel_size(first, axes),
        time_step_s=_step(first, axes, "T", "second"),
        name=first.name,
    )


def layer_pixel_size(layer: Layer, axes: str) -> PixelSize:
    """Pixel size of a layer along z, y and x; None where its unit is not one of length."""
    return PixelSize(*(_step(layer, axes, axis, "micrometer") for axis in "ZYX"))


def stack_from_labels(layer: Labels, axes: str) -> Stack:
    """The user's labels as a stack of one channel; ``axes`` are those of the image."""
    import dask.array as da

    data = da.asarray(_full_resolution(layer))
    if data.dtype.kind not in "ui":
        data = data.astype(np.int32)
    return Stack(to_tczyx(data, axes[-layer.ndim :]), ("cells",), name=layer.name)


def plane_in_view(layer: Layer, axes: str, point: Sequence[float]) -> dict[str, int]:
    """Indices along T and Z of the plane of a layer that a viewer shows.

    Parameters
    ----------
    point : the viewer's position in world coordinates, one number for each of its axes
    """
    position = layer.world_to_data(point[len(point) - layer.ndim :])
    shape = _full_resolution(layer).shape
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


def _full_resolution(layer: Layer) -> NDArray[np.generic] | da.Array:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _step(layer: Layer, axes: str, axis: str, unit: str) -> float | None:
    """Pixel spacing along an axis in ``unit``; None if the axis has no such unit."""
    if axis not in axes:
        return None
    index = axes.index(axis)
    layer_unit = layer.units[index]
    if not layer_unit.is_compatible_with(unit):
        return None
    return float(layer.scale[index] * (1 * layer_unit).to(unit).magnitude)
