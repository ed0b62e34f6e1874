"""Evidence on the canvas: one map at a time, over the image in dim grey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cellcam.reporting.colours import IMPORTANCE_GAMMA
from napari_cellcam.layers.appearance import (
    difference_colormap,
    importance_colormap,
    pyramid_if_large,
)
from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement
from napari_cellcam.layers.viewer_state import add_inactive, remove_layers
from napari_cellcam.state.evidence import EvidenceMaps, Maps

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer

_NAME, _GREY_NAME = "evidence", "image in grey"


class EvidenceLayers:
    """Two layers: the image in grey, and over it one map of the evidence.

    The user's own layers keep their colours: they lie under the grey layer and are seen again
    when the evidence is switched off. The layers stay when the evidence is exchanged: napari
    collects garbage when a layer is removed, which takes a tenth of a second.

    Parameters
    ----------
    below : the layer under which they are put
    metadata : image and model
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        evidence: EvidenceMaps,
        below: Layer,
        placement: Placement,
        metadata: CellCamMetadata,
    ) -> None:
        self.viewer, self.evidence = viewer, evidence
        self.shown = next(iter(evidence.maps))
        self._below, self._metadata = below, metadata
        self._is_on, self._has_shared_scale, self._waits, self._is_empty = True, True, False, False
        self.grey = _grey_layer(evidence, placement, metadata)
        self.layer = self._map_layer(placement)
        viewer.dims.events.ndisplay.connect(self._show_or_hide)

    @property
    def maps(self) -> Maps:
        """The maps that are computed: importance for calls and classes, and differences."""
        return {**self.evidence.maps, **self.evidence.differences}

    @property
    def names(self) -> list[str]:
        """What can be shown, computed already or not yet."""
        return self.evidence.names

    @property
    def is_signed(self) -> bool:
        """Whether what is shown speaks for and against."""
        return self.shown in self.evidence.differences

    def add_differences(self, maps: Maps, typical: float) -> None:
        """Add maps of differences that were computed, see `DifferenceMaps`."""
        self.evidence.differences.update(maps)
        self.evidence.typical.update(dict.fromkeys(maps, typical))

    def wait(self, waits: bool) -> None:
        """Show no map while the next one is computed."""
        self._waits = waits
        self._show_or_hide()

    @property
    def is_on(self) -> bool:
        """Whether evidence is shown."""
        return self._is_on

    def is_there(self) -> bool:
        """Whether both layers are in the viewer."""
        return all(layer in self.viewer.layers for layer in (self.grey, self.layer))

    def empty(self) -> None:
        """Show nothing, whatever the user does with the layers, until `exchange`."""
        self._is_empty = True
        self._show_or_hide()
        shape = next(iter(self.evidence.maps.values())).shape
        self.layer.data = pyramid_if_large(np.broadcast_to(np.float32(0), shape))
        self.layer.metadata = {"cellcam": self._metadata}

    def exchange(self, evidence: EvidenceMaps) -> None:
        """Show other evidence about the same cells."""
        was_signed, self.evidence = self.is_signed, evidence
        self._is_on, self._is_empty = True, False
        self._draw(next(iter(evidence.maps)), was_signed)
        self._show_or_hide()

    def add(self) -> Iterator[None]:
        """Add the layers step by step: adding and drawing each take a tenth of a second."""
        for layer in (self.grey, self.layer):
            if layer not in self.viewer.layers:
                layer.visible = False
                add_inactive(self.viewer, layer, self._index())
                yield
        self.grey.visible = self._shows_grey
        yield
        self.layer.visible = self._shows_map

    def remove(self) -> None:
        """Remove the layers from the viewer."""
        remove_layers(self.viewer, (self.layer, self.grey))

    def release(self) -> None:
        """Disconnect from the viewer: nothing shows these layers again."""
        self.viewer.dims.events.ndisplay.disconnect(self._show_or_hide)

    def switch(self, on: bool) -> None:
        """Show the evidence over the grey image, or the image in its colours."""
        self._is_on = on
        self._show_or_hide()

    def show_map(self, name: str) -> None:
        """Show one of `maps`."""
        self._draw(name, self.is_signed)

    def _draw(self, name: str, was_signed: bool) -> None:
        self.shown, self._waits = name, False
        self.layer.visible = False  # napari draws a visible layer again for each change
        self.layer.data = pyramid_if_large(self.maps[name])
        self.layer.metadata = {"cellcam": self._map_metadata()}
        if self.is_signed != was_signed:  # else the user's own colours stay
            self._set_colours()
        self._set_scale()
        self.layer.visible = self._shows_map

    def share_scale(self, shared: bool) -> None:
        """Draw all classes on one scale, or each on a scale of its own."""
        self._has_shared_scale = shared
        self._set_scale()

    def set_opacity(self, opacity: float) -> None:
        """Opacity of the evidence, 0 to 1."""
        self.layer.opacity = opacity

    def _show_or_hide(self, _: object = None) -> None:
        self.grey.visible = self._shows_grey
        self.layer.visible = self._shows_map

    @property
    def _shows_map(self) -> bool:
        return self._is_on and not self._waits and not self._is_empty

    @property
    def _shows_grey(self) -> bool:
        # In 3-D, a flat grey image would hide the user's volume; through a grey volume one sees.
        is_seen = self.viewer.dims.ndisplay == 2 or self.grey.ndim > 2
        return self._is_on and not self._is_empty and is_seen

    @property
    def largest(self) -> float:
        """Importance or difference at the end of the scale that is drawn; 0 for empty maps."""
        ends = self.evidence.typical if self.is_signed else self.evidence.largest
        return max(ends.values()) if self._has_shared_scale else ends[self.shown]

    def _set_scale(self) -> None:
        end = self.largest or 1.0  # napari wants a range
        limits = (-end if self.is_signed else 0, end)
        self.layer.contrast_limits_range = limits
        self.layer.contrast_limits = limits

    def _set_colours(self) -> None:
        signed = self.is_signed
        self.layer.colormap = difference_colormap() if signed else importance_colormap()
        self.layer.gamma = 1.0 if signed else IMPORTANCE_GAMMA
        # The maximum along a ray would hide all that speaks against.
        self.layer.rendering = "translucent" if signed else "mip"

    def _map_metadata(self) -> CellCamMetadata:
        unit = "score difference" if self.is_signed else "importance"
        return {**self._metadata, "class": self.shown, "unit": unit}

    def _map_layer(self, placement: Placement) -> Image:
        from napari.layers import Image

        return Image(
            pyramid_if_large(self.maps[self.shown]),
            name=_NAME,
            colormap=importance_colormap(),
            contrast_limits=(0, self.largest or 1.0),
            gamma=IMPORTANCE_GAMMA,
            blending="translucent_no_depth",
            metadata={"cellcam": self._map_metadata()},
            **placement,
        )

    def _index(self) -> int:
        layers = self.viewer.layers
        return layers.index(self._below) if self._below in layers else len(layers)


def _grey_layer(evidence: EvidenceMaps, placement: Placement, metadata: CellCamMetadata) -> Image:
    from napari.layers import Image

    return Image(
        pyramid_if_large(evidence.grey),
        name=_GREY_NAME,
        colormap="gray",
        contrast_limits=(0, 255),
        blending="translucent_no_depth",
        metadata={"cellcam": metadata},
        **placement,
    )
