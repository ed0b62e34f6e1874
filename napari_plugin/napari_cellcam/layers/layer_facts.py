"""Facts about open layers. Their one home is the layers: scale, units, axis labels and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_cellcam.layers.channel_sources import layer_shape
from napari_cellcam.layers.stack_from_layers import (
    axes_are_known,
    layer_axes,
    layer_pixel_size,
    layer_time_step,
)
from napari_cellcam.layers.stack_layers import cellcam_metadata
from napari_cellcam.state.image_facts import ImageFacts

if TYPE_CHECKING:
    from napari.layers import Layer

_NUMBERED = re.compile(r"(.* )?channel \d+( \[\d+\])?")


def facts_of_layers(layers: Sequence[Layer]) -> ImageFacts:
    """Facts about the channels of one image, each of which is a layer.

    Axes that can only be guessed are given as the guess, see `unknown_facts`.
    """
    first = layers[0]
    axes = layer_axes(first)
    z, y, x = layer_pixel_size(first, axes)
    names = tuple(layer_stain(layer) for layer in layers)
    return ImageFacts(
        axes=axes if axes_are_known(first) else "",
        pixel_size_um=(y, x),
        z_step_um=z,
        time_step_s=layer_time_step(first, axes),
        channels=() if any(map(_NUMBERED.fullmatch, names)) else names,
    )


def apply_facts(facts: ImageFacts, layers: Sequence[Layer], also: Iterable[Layer] = ()) -> None:
    """Write facts to the layers of an image: scale, units, axis labels and names.

    Parameters
    ----------
    layers : the image's channels; channel names, if there are any, become their names
    also : layers that lie on the same pixels, such as labels; their names stay
    """
    names: Sequence[str] = facts.channels or [layer.name for layer in layers]
    for layer, name in zip(layers, names, strict=True):
        if facts.channels and name != layer_stain(layer):
            layer.name = name
    for layer in [*layers, *also]:
        _place(layer, facts)


def layers_on_the_same_pixels(layer: Layer, layers: Iterable[Layer]) -> list[Layer]:
    """Images and labels with the height, width and scale of a layer, without the layer itself."""
    from napari.layers import Image, Labels

    height_width, scale, units = _grid(layer)
    return [
        other
        for other in layers
        if other.unique_id != layer.unique_id
        and isinstance(other, Image | Labels)
        and other.ndim <= layer.ndim
        and (_grid(other)[0], _grid(other)[2]) == (height_width, units)
        and np.allclose(_grid(other)[1], scale)
    ]


def layer_stain(layer: Layer) -> str:
    """What a layer shows: its channel in the file it came from, or its name."""
    channel = cellcam_metadata(layer).get("channel")
    return channel if channel and layer.name.endswith(channel) else str(layer.name)


def _place(layer: Layer, facts: ImageFacts) -> None:
    axes = facts.axes[-layer.ndim :]
    steps = [facts.step(axis) for axis in axes]
    layer.axis_labels = tuple(axis.lower() for axis in axes)
    layer.units = tuple(
        "pixel" if step is None else "second" if axis == "T" else "micrometer"
        for axis, step in zip(axes, steps, strict=True)
    )
    before = np.asarray(layer.scale)
    shift = np.asarray(layer.translate) / before  # in pixels: a crop stays on its image
    layer.scale = [1.0 if step is None else step for step in steps]
    layer.translate = shift * np.asarray(layer.scale)


def _grid(layer: Layer) -> tuple[tuple[int, ...], tuple[float, ...], tuple[str, ...]]:
    """Height and width, scale and units of a layer along y and x."""
    return (
        layer_shape(layer)[-2:],
        tuple(map(float, layer.scale[-2:])),
        tuple(str(unit) for unit in layer.units[-2:]),
    )
