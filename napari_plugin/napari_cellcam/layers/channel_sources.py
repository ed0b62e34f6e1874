"""Where the pixels of a channel come from: a layer, or a colour of an RGB layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellcam.layers.stack_layers import cellcam_metadata

if TYPE_CHECKING:
    import dask.array as da
    import numpy as np
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

SAMPLES = ("red", "green", "blue")


@dataclass(frozen=True)
class ColourSample:
    """Red, green or blue of an RGB layer.

    Attributes
    ----------
    layer : the RGB layer
    sample : 0 for red, 1 for green, 2 for blue
    """

    layer: Image
    sample: int

    @property
    def colour(self) -> str:
        """Its name."""
        return SAMPLES[self.sample]


def channel_sources(layers: Iterable[Image]) -> list[Image | ColourSample]:
    """What can be chosen for a channel: each layer, and each colour of an RGB layer."""
    return [source for layer in layers for source in _sources(layer)]


def source_layer(source: Image | ColourSample) -> Image:
    """The layer that holds the pixels."""
    return source.layer if isinstance(source, ColourSample) else source


def source_name(source: Image | ColourSample) -> str:
    """Name for people: that of the layer, or ``layer: red``."""
    if isinstance(source, ColourSample):
        return f"{source.layer.name}: {source.colour}"
    return str(source.name)


def source_channel(source: Image | ColourSample) -> str:
    """Name of the channel in the file: its colour, or that of the layer's metadata, or its name."""
    if isinstance(source, ColourSample):
        return source.colour
    return cellcam_metadata(source).get("channel") or str(source.name)


def are_colours(sources: Iterable[Image | ColourSample]) -> bool:
    """Whether sources are colours of one picture, in the order red, green, blue."""
    chosen = list(sources)
    pictures = {_picture(source) for source in chosen}
    numbers = [SAMPLES.index(source_channel(s)) for s in chosen if source_channel(s) in SAMPLES]
    is_ordered = numbers == sorted(set(numbers)) and len(numbers) == len(chosen)
    return is_ordered and len(pictures) == 1 and None not in pictures


def is_picture(sources: Iterable[Image | ColourSample | None]) -> bool:
    """Whether sources are red, green and blue of one picture."""
    chosen = [source for source in sources if source is not None]
    return len(chosen) == len(SAMPLES) and are_colours(chosen)


def source_pixels(source: Image | ColourSample) -> NDArray[np.generic] | da.Array:
    """Pixels at full resolution, one axis for each axis of the layer."""
    pixels = full_resolution(source_layer(source))
    return pixels[..., source.sample] if isinstance(source, ColourSample) else pixels


def full_resolution(layer: Layer) -> NDArray[np.generic] | da.Array:
    """Pixels of a layer; of a pyramid its largest level."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def layer_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of a layer at full resolution, without colour samples."""
    return tuple(full_resolution(layer).shape[: layer.ndim])


def _picture(source: Image | ColourSample) -> object:
    """The picture that a source is a colour of: an RGB layer, or its file; None if of none."""
    if isinstance(source, ColourSample):
        return id(source.layer)
    metadata = cellcam_metadata(source)
    return metadata.get("path") if metadata.get("is_colour") else None


def _sources(layer: Image) -> list[Image | ColourSample]:
    if getattr(layer, "rgb", False):
        return [ColourSample(layer, sample) for sample in range(len(SAMPLES))]
    return [layer]
