"""What CellCam found, as layers: cells coloured by class, one importance layer for each class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.reporting.colours import IMPORTANCE_GAMMA, class_colours
from napari_cellcam.drawing import cell_colours, clear_colormap, dense_features, drawable
from napari_cellcam.session import EvidenceMaps, Session
from napari_cellcam.sources import place_of

if TYPE_CHECKING:
    import napari
    import pandas as pd
    from napari.layers import Image, Labels, Layer
    from numpy.typing import NDArray

_OUTLINE = 2  # screen pixels
_WELL_INSIDE = 0.9  # part of the canvas in which a cell need not be brought into view


class ResultLayers:
    """The result layers of one session.

    They are held as objects: renamed, they stay ours; deleted, they are simply gone.

    Attributes
    ----------
    colours : of the classes
    clicked : called with the table's row of the cell that was clicked, and whether it is one
        more (Shift was held)
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, session: Session, source: Image, axes: str
    ) -> None:
        self.viewer, self.session = viewer, session
        self.colours = class_colours(session.model.spec.classes)
        self.clicked: Callable[[int, bool], None] = lambda row, more: None
        self._place = place_of(source, axes, session.kept_axes)
        self._about = {"image": session.stack.name, "model": session.model.spec.weights_sha256[:12]}
        self.maps: list[Image] = []
        self.cells = self._add_cells()

    def layers(self) -> list[Layer]:
        """All of them that are still in the viewer."""
        return [layer for layer in (self.cells, *self.maps) if layer in self.viewer.layers]

    def remove(self) -> None:
        """Take them out of the viewer."""
        for layer in self.layers():
            self.viewer.layers.remove(layer)

    def show_evidence(self, evidence: EvidenceMaps) -> Iterator[None]:
        """Add one importance layer for each class, all on one scale, layer by layer."""
        for layer in self.maps:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.maps = []
        for name, image in evidence.maps.items():
            yield
            self.maps.append(self._add_map(name, image, evidence.largest or 1.0))
            yield
            self.maps[-1].visible = True
        if len(self.maps) > 1:
            from napari.experimental import link_layers

            link_layers(self.maps, ("contrast_limits", "gamma"))

    def go_to(self, facts: pd.Series[Any], row: int) -> None:
        """Bring a cell into view; where it is in view, nothing moves."""
        if self.cells not in self.viewer.layers:
            return
        self.cells.selected_label = row + 1
        axes = self.session.kept_axes
        at = {"T": float(facts["t"]), "Z": float(facts["z"]) if facts["z"].isdecimal() else 0.0}
        at |= {"Y": float(facts["y"]), "X": float(facts["x"])}
        world = self.cells.data_to_world([at[axis] for axis in axes])
        self._turn_to(world)
        scene = getattr(self.viewer, "scene", self.viewer)  # napari below 0.9 has no scene
        if not self._in_view(world[-2:], scene.camera):
            scene.camera.center = tuple(world[-2:])

    def _turn_to(self, world: Sequence[float]) -> None:
        """Show the plane of a place; napari draws anew even where it does not change."""
        dims = self.viewer.dims
        first = dims.ndim - len(world)
        for axis in dims.not_displayed:
            if axis < first:
                continue
            start, _, step = dims.range[axis]
            if round((world[axis - first] - start) / step) != dims.current_step[axis]:
                dims.set_point(axis, world[axis - first])

    def _in_view(self, point: Sequence[float], camera: Any) -> bool:
        """Whether a point of the plane lies well inside what the canvas shows."""
        canvas = getattr(self.viewer, "canvas", self.viewer)
        size = getattr(canvas, "size", None)
        if size is None:
            return False
        half = np.asarray(size) / camera.zoom / 2
        return bool(np.all(np.abs(np.asarray(point) - camera.center[-2:]) < _WELL_INSIDE * half))

    def recolour(self, classes: Iterable[str]) -> None:
        """Colour the cells by these classes, one for each row."""
        calls = {i + 1: name for i, name in enumerate(classes)}
        self.cells.colormap = cell_colours(calls, self.colours)

    def _add_map(self, name: str, image: NDArray[np.float32], largest: float) -> Image:
        # Shown at the next turn: adding and drawing each take a tenth of a second.
        return self.viewer.add_image(
            drawable(image),
            visible=False,
            name=f"evidence for {name}",
            colormap=clear_colormap(self.colours[name]),
            contrast_limits=(0, largest),
            gamma=IMPORTANCE_GAMMA,
            blending="translucent_no_depth",
            metadata={"cellcam": {**self._about, "class": name, "unit": "importance"}},
            **self._place,
        )

    def _add_cells(self) -> Labels:
        table = self.session.table
        is_volume = self.session.is_volume
        # Shown when all is set: napari draws anew for each change of what is seen.
        layer = self.viewer.add_labels(
            drawable(self.session.cells_image),
            visible=False,
            name="cells by class",
            features=dense_features(table, table.index + 1),
            opacity=0.4 if is_volume else 0.9,
            metadata={"cellcam": self._about},
            **self._place,
        )
        self.cells = layer
        layer.contour = 0 if is_volume else _OUTLINE  # napari draws no outlines in 3-D
        self.recolour(table["class"])
        layer.visible = True
        layer.editable = False
        layer.mouse_drag_callbacks.append(self._on_click)
        return layer

    def _on_click(self, layer: Labels, event: Any) -> None:
        number = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if isinstance(number, tuple):  # of a pyramid, with its level
            number = number[1]
        if number:
            self.clicked(int(number) - 1, "Shift" in event.modifiers)


def is_result(layer: Layer) -> bool:
    """Whether a layer shows what CellCam found or would find, so that it is no image to use."""
    return bool({"model", "preview"} & set(layer.metadata.get("cellcam", {})))
