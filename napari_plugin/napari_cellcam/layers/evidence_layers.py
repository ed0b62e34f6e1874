"""Evidence on the canvas: one map at a time, over the image in dim grey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cellcam.reporting.colours import IMPORTANCE_GAMMA
from napari_cellcam.layers.appearance import importance_colormap, pyramid_if_large
from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement
from napari_cellcam.state.evidence import EvidenceMaps

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer

_NAME, _GREY_NAME = "evidence", "image in grey"


class EvidenceLayers:
    """Two layers: the image in grey, and over it the evidence for one class.

    The user's own layers keep their colours: they lie under the grey layer and are seen again
    when the evidence is switched off.

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
        self.viewer, self.maps = viewer, evidence.maps
        self.shown = next(iter(evidence.maps))
        self._below, self._metadata = below, metadata
        self._is_on, self._has_shared_scale = True, True
        self._largest = {name: float(image.max()) for name, image in evidence.maps.items()}
        self.grey = _grey_layer(evidence, placement, metadata)
        self.layer = self._map_layer(placement)
        viewer.dims.events.ndisplay.connect(self._show_or_hide)

    @property
    def names(self) -> list[str]:
        """What can be shown: the calls of all cells, and single classes."""
        return list(self.maps)

    @property
    def is_on(self) -> bool:
        """Whether evidence is shown."""
        return self._is_on

    def add(self) -> Iterator[None]:
        """Add the layers step by step: adding and drawing each take a tenth of a second."""
        for layer in (self.grey, self.layer):
            if layer not in self.viewer.layers:
                layer.visible = False
                self.viewer.layers.insert(self._index(), layer)
                yield
        self.grey.visible = self._shows_grey
        yield
        self.layer.visible = self._is_on

    def remove(self) -> None:
        """Remove the layers from the viewer."""
        for layer in (self.layer, self.grey):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.viewer.dims.events.ndisplay.disconnect(self._show_or_hide)

    def switch(self, on: bool) -> None:
        """Show the evidence over the grey image, or the image in its colours."""
        self._is_on = on
        self._show_or_hide()

    def show_map(self, name: str) -> None:
        """Show the evidence for each cell's call, or for one class."""
        self.shown = name
        self.layer.data = pyramid_if_large(self.maps[name])
        self.layer.metadata = {"cellcam": self._map_metadata()}
        self._set_scale()

    def share_scale(self, shared: bool) -> None:
        """Draw all classes on one scale, or each on a scale of its own."""
        self._has_shared_scale = shared
        self._set_scale()

    def set_opacity(self, opacity: float) -> None:
        """Opacity of the evidence, 0 to 1."""
        self.layer.opacity = opacity

    def _show_or_hide(self, _: object = None) -> None:
        self.grey.visible = self._shows_grey
        self.layer.visible = self._is_on

    @property
    def _shows_grey(self) -> bool:
        # In 3-D, a flat grey image would hide the user's volume; through a grey volume one sees.
        return self._is_on and (self.viewer.dims.ndisplay == 2 or self.grey.ndim > 2)

    @property
    def largest(self) -> float:
        """Importance at the end of the scale that is drawn."""
        shared = max(self._largest.values())
        return (shared if self._has_shared_scale else self._largest[self.shown]) or 1.0

    def _set_scale(self) -> None:
        self.layer.contrast_limits_range = (0, self.largest)
        self.layer.contrast_limits = (0, self.largest)

    def _map_metadata(self) -> CellCamMetadata:
        return {**self._metadata, "class": self.shown, "unit": "importance"}

    def _map_layer(self, placement: Placement) -> Image:
        from napari.layers import Image

        return Image(
            pyramid_if_large(self.maps[self.shown]),
            name=_NAME,
            colormap=importance_colormap(),
            contrast_limits=(0, max(self._largest.values()) or 1.0),
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
