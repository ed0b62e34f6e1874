"""Choices of layers: what is offered, and what fits a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox

from napari_cellcam.layers.channel_sources import ColourSample, source_channel, source_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Layer

FIND_CELLS, USE_AS_CELLS = "find them", "use as cells: "


def offer(
    choice: QComboBox,
    layers: Sequence[Layer],
    wanted: Layer | None,
    first_item: str | None = None,
) -> None:
    """Fill a choice with layers; it emits no change if the chosen layer stays."""
    same = choice.currentData() == wanted
    blocked = choice.blockSignals(same or choice.signalsBlocked())
    choice.clear()
    if first_item is not None:
        choice.addItem(first_item, None)
    for layer in layers:
        use = USE_AS_CELLS if first_item == FIND_CELLS and layer_kind(layer) == "image" else ""
        choice.addItem(use + source_name(layer), layer)
    at = next((i for i in range(choice.count()) if choice.itemData(i) == wanted), -1)
    choice.setCurrentIndex(max(at, -1 if first_item is None else 0))
    choice.blockSignals(blocked)


def layer_kind(layer: Layer) -> str:
    """``image``, ``labels`` or another of napari's kinds."""
    return str(layer._type_string) if hasattr(layer, "_type_string") else ""


def best_match(
    name: str, images: Sequence[Image | ColourSample], n_channels: int
) -> Image | ColourSample | None:
    """Layer for a channel by its name, or the only layer for the only channel; never by order."""
    for source in images:
        if name.lower() in (source_channel(source).lower(), source_name(source).lower()):
            return source
    return images[0] if n_channels == len(images) == 1 else None
