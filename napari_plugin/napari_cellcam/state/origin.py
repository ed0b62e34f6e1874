"""What results are about. Results are shown only while the user's choices are still the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cellcam.request import Request


class LayerState(NamedTuple):
    """One state of a layer.

    Attributes
    ----------
    layer : its unique id
    revision : grows whenever its pixels, scale or position change
    """

    layer: str
    revision: int


@dataclass(frozen=True)
class ImageKey:
    """An image, as corrections remember it.

    Attributes
    ----------
    place : path of its file, or the id of a layer that came from no file
    name : for people; an image that is renamed is still the same
    """

    place: str
    name: str = field(compare=False)


@dataclass(frozen=True)
class Origin:
    """Image, model and choices that results are about. Equal origins give equal results.

    Attributes
    ----------
    image : the image
    layers : layer of each of the model's channels
    axes : axes of the layers, letters of TZYX
    model : folder of the model and hash of its weights, or the stains and scale of a draft
    request : how cells are found and what the model sees; of no importance are classes to
        explain, since all results of one session differ in these only
    labels : the user's labels layer; None: cells are found
    """

    image: ImageKey
    layers: tuple[tuple[str, LayerState], ...]
    axes: str
    model: str
    request: Request
    labels: LayerState | None = None

    def difference(self, other: Origin | None) -> str:
        """What differs from another origin, in words; empty if nothing does."""
        if other is None:
            return "the image"
        pairs = {
            "the image": (self.image, other.image),
            "the layers of the image": (self.layers, other.layers),
            "the axes": (self.axes, other.axes),
            "the model": (self.model, other.model),
            "the labels layer": (self.labels, other.labels),
            "how cells are found": (self.request, other.request),
        }
        return next((what for what, (mine, its) in pairs.items() if mine != its), "")
