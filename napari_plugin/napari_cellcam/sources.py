"""Image layers as the stack that CellCam works on, and results back at the layers' place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.errors import InputError
from cellcam.stacks.stack import PixelSize, Stack, to_tczyx

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

_GUESSES = {2: "YX", 3: "ZYX", 4: "TZYX"}


def layer_axes(layer: Layer) -> str:
    """What a layer's axes mean, one letter of TZYX each: as its labels and units say, or likely.

    A first axis in a unit of time is T; without labels or units it is taken for Z.
    """
    named = "".join(label.upper() for label in layer.axis_labels)
    if set(named) <= set("TZYX") and len(set(named)) == len(named) == layer.ndim:
        return named
    if layer.ndim == 3 and layer.units[0].is_compatible_with("second"):
        return "TYX"
    return _GUESSES.get(layer.ndim, "")


def stack_of(layers: Mapping[str, Image], axes: str) -> Stack:
    """Stack of channels that lie in layers; nothing is read or copied.

    Parameters
    ----------
    layers : image layer of each channel, all of one shape
    axes : what their axes mean, one letter of TZYX each

    Raises
    ------
    InputError
        If the layers differ in shape or place, or the axes do not fit them.
    """
    import dask.array as da

    chosen = list(layers.values())
    first = chosen[0]
    for layer in chosen:
        if layer.rgb:
            raise InputError(f"{layer.name} shows colours; split it (right click, Split RGB).")
        if layer.data.shape != first.data.shape or not np.allclose(layer.scale, first.scale):
            raise InputError(f"{layer.name} and {first.name} differ in shape or scale.")
    if len(axes) != first.ndim or axes[-2:] != "YX" or not set(axes[:-2]) <= set("TZ"):
        raise InputError(
            f"Axes {axes!r} do not fit {first.name}, which has {first.ndim}: write one letter "
            "for each, T or Z first and YX at the end."
        )
    whole = tuple(slice(None) if axis in axes else None for axis in "TZYX")
    order = [axes.index(axis) for axis in "TZYX" if axis in axes]
    planes = [
        da.transpose(da.asarray(_full_resolution(layer)), order)[whole][:, None] for layer in chosen
    ]
    return Stack(
        data=da.concatenate(planes, axis=1),
        channels=tuple(layers),
        pixel_size_um=PixelSize(*(_step(first, axes, axis, "micrometer") for axis in "ZYX")),
        time_step_s=_step(first, axes, "T", "second"),
        name=first.name,
    )


def label_stack_of(layer: Labels, axes: str) -> Stack:
    """The user's cells as a stack of one channel; ``axes`` are those of the image."""
    import dask.array as da

    data = da.asarray(_full_resolution(layer))
    if data.dtype.kind not in "ui":
        data = data.astype(np.int32)
    return Stack(to_tczyx(data, axes[-layer.ndim :]), ("cells",), name=layer.name)


def seen_place(layer: Layer, axes: str, point: Sequence[float]) -> dict[str, int]:
    """Indices of the time point and plane that a viewer shows of a layer.

    Parameters
    ----------
    point : the viewer's place in the world, one number for each of its axes
    """
    place = layer.world_to_data(point[len(point) - layer.ndim :])
    shape = _full_resolution(layer).shape
    return {
        axis: int(np.clip(round(float(at)), 0, n - 1))
        for axis, at, n in zip(axes, place, shape, strict=True)
        if axis in "TZ"
    }


def place_of(layer: Layer, axes: str, kept: str) -> dict[str, Any]:
    """Scale, translation, units and labels of some axes of a layer, for a layer made from it."""
    index = [axes.index(axis) for axis in kept]
    return {
        "scale": np.asarray(layer.scale)[index],
        "translate": np.asarray(layer.translate)[index],
        "units": [layer.units[i] for i in index],
        "axis_labels": [layer.axis_labels[i] for i in index],
    }


def _full_resolution(layer: Layer) -> Any:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _step(layer: Layer, axes: str, axis: str, unit: str) -> float | None:
    """Distance of neighbours along an axis, where the layer measures it in such a unit."""
    if axis not in axes:
        return None
    index = axes.index(axis)
    own = layer.units[index]
    if not own.is_compatible_with(unit):
        return None
    return float(layer.scale[index] * (1 * own).to(unit).magnitude)
