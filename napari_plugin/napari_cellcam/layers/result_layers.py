"""Results of a session as layers: cells outlined by class, the selected cell, the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cellcam.reporting.colours import class_colours
from napari_cellcam.layers.appearance import (
    cell_colormap,
    features_by_label,
    pyramid_if_large,
)
from napari_cellcam.layers.cell_mark import CellMark
from napari_cellcam.layers.cells_in_3d import CellsIn3D
from napari_cellcam.layers.evidence_layers import EvidenceLayers
from napari_cellcam.layers.mouse import MouseEvent
from napari_cellcam.layers.stack_from_layers import layer_placement
from napari_cellcam.layers.stack_layers import CellCamMetadata, cellcam_metadata
from napari_cellcam.layers.viewer_state import add_inactive, removed_together, view_kept
from napari_cellcam.state.evidence import EvidenceMaps
from napari_cellcam.state.explanation_choices import ExplanationChoices
from napari_cellcam.state.session import Session

if TYPE_CHECKING:
    import napari
    import pandas as pd
    from napari.components.camera import Camera
    from napari.layers import Image, Labels, Layer

_OUTLINE = 2  # screen pixels
_MOST_PUT_AWAY = 3  # kinds of evidence that wait for their choices to come back
_WELL_INSIDE = 0.9  # part of the canvas; a cell inside it does not move the camera


class ResultLayers:
    """The result layers of one session.

    The layers are found by identity, not by name: the user may rename or delete them.

    Attributes
    ----------
    colours : colour of each class
    cells : labels layer of the cells
    evidence : layers of the evidence; None before it was computed
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, session: Session, source: Image, axes: str
    ) -> None:
        self.viewer, self.session = viewer, session
        self.colours = class_colours(session.spec.classes)
        self._placement = layer_placement(source, axes, session.kept_axes)
        self._metadata: CellCamMetadata = {
            "image": session.stack.name,
            "model": session.origin.model,
        }
        self.evidence: EvidenceLayers | None = None
        self._emptied: EvidenceLayers | None = None
        self._put_away: dict[ExplanationChoices, EvidenceMaps] = {}
        self._plane_in_2d: Sequence[float] | None = None  # of a cell that was chosen in 3-D
        self.cells = self._cells_layer()
        self._mark = CellMark(
            viewer, session.cells_image, self._placement, self._metadata, session.is_volume
        )
        self.in_3d = CellsIn3D(
            viewer,
            self.cells,
            self._mark,
            session.cells_image,
            self._placement,
            session.kept_axes,
            self._metadata,
        )
        self._follow_view()

    def add(self) -> None:
        """Add the layer of the cells, invisible, to the viewer."""
        with view_kept(self.viewer):
            add_inactive(self.viewer, self.cells)

    def _follow_view(self) -> None:
        self.in_3d.begin()
        self.viewer.dims.events.ndisplay.connect(self._show_plane_of_choice)

    def remove(self) -> None:
        """Remove the result layers from the viewer."""
        self.viewer.dims.events.ndisplay.disconnect(self._show_plane_of_choice)
        with removed_together(self.viewer):
            self.in_3d.end()
            self._mark.remove()
            for evidence in (self.evidence, self._emptied):
                if evidence is not None:
                    evidence.remove()
            if self.cells in self.viewer.layers:
                self.viewer.layers.remove(self.cells)

    def appear(self) -> Iterator[None]:
        """Show the cells, and prepare their mark: the first click shall not wait for it."""
        with view_kept(self.viewer):
            self.cells.visible = True
        self.cells.editable = False
        yield
        with view_kept(self.viewer):
            self._mark.prepare()

    def show_again(self) -> None:
        """Bring the result layers back into the viewer."""
        self.cells.visible = True
        if self.cells not in self.viewer.layers:
            self.viewer.layers.append(self.cells)
        if self.evidence is not None:
            for _ in self.evidence.add():
                pass
        self._mark.prepare()
        self._follow_view()

    def row_at(self, event: MouseEvent) -> int | None:
        """Table row of the cell under the mouse, whichever layer is active; None beside cells."""
        if self.cells not in self.viewer.layers:
            return None
        number = self.in_3d.number_at(event) if self.in_3d.is_3d else self._number_at(event)
        return number - 1 if number else None

    def _number_at(self, event: MouseEvent) -> int:
        """Number of the cell under the mouse in 2-D; 0 beside cells."""
        number = self.cells.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if isinstance(number, tuple):  # (level, label) of a pyramid
            number = number[1]
        return int(number or 0)

    def show_evidence(self, evidence: EvidenceMaps) -> Iterator[None]:
        """Add the evidence, step by step, in place of an earlier one."""
        self._put_away.pop(evidence.choices, None)
        layers = self.evidence or self._emptied
        self._emptied = None
        if layers is not None and layers.is_there():
            layers.exchange(evidence)
            self.evidence = layers
            return
        if layers is not None:  # the user removed one of them
            layers.remove()
            layers.release()
        self.evidence = EvidenceLayers(
            self.viewer, evidence, self.cells, self._placement, self._metadata
        )
        yield from self.evidence.add()

    def explain_as(self, choices: ExplanationChoices) -> EvidenceMaps | None:
        """Explain cells in this way from now on; evidence that was computed otherwise goes.

        Returns
        -------
        evidence that was computed in this way before, or None
        """
        self.session.explaining = choices
        if self.evidence is not None and self.evidence.evidence.choices != choices:
            kept = self.evidence.evidence
            self._put_away[kept.choices] = kept
            while len(self._put_away) > _MOST_PUT_AWAY:
                del self._put_away[next(iter(self._put_away))]
            self.evidence.empty()
            self.evidence, self._emptied = None, self.evidence
            self.session.forget_evidence()
        return self._put_away.get(choices)

    @property
    def maps(self) -> list[Image]:
        """The layer of the evidence, if there is any."""
        return [] if self.evidence is None else [self.evidence.layer]

    def show_cell(self, facts: pd.Series, row: int) -> None:
        """Bring a cell into view and select it; nothing moves if it is in view.

        Parameters
        ----------
        facts, row : row of the session's table, and its number
        """
        if self.cells not in self.viewer.layers:
            return
        place = self._place(facts)
        world = self.cells.data_to_world(place)
        others = self.session.other_planes(row)
        self._mark.show(row + 1, tuple(map(round, place)), self._places(others))
        self.in_3d.mark(row + 1, [other + 1 for other in others])
        self._show_plane(world)
        self._plane_in_2d = world if self.in_3d.is_3d else None
        scene = getattr(self.viewer, "scene", self.viewer)  # napari below 0.9 has no scene
        if not self._in_view(world[-2:], scene.camera):
            n_seen = min(self.viewer.dims.ndisplay, len(world))
            scene.camera.center = (*scene.camera.center[:-n_seen], *world[-n_seen:])

    def _place(self, facts: pd.Series) -> list[float]:
        """Middle of a cell in pixels on the axes of the results."""
        z = str(facts["z"])
        position = {
            "T": float(facts["t"]),
            "Z": float(z) if z.isdecimal() else 0.0,
            "Y": float(facts["y"]),
            "X": float(facts["x"]),
        }
        return [position[axis] for axis in self.session.kept_axes]

    def _places(self, rows: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """A pixel near the middle of each cell, by cell number."""
        table = self.session.table
        return {row + 1: tuple(map(round, self._place(table.iloc[row]))) for row in rows}

    def _show_plane_of_choice(self, _: object) -> None:
        """Back from 3-D, show the plane of the cell that was chosen there."""
        if self._plane_in_2d is not None and not self.in_3d.is_3d:
            self._show_plane(self._plane_in_2d)
            self._plane_in_2d = None

    def _show_plane(self, world: Sequence[float]) -> None:
        """Show the plane at world coordinates; the same plane again would be drawn again."""
        dims = self.viewer.dims
        first = dims.ndim - len(world)
        for axis in dims.not_displayed:
            if axis < first:
                continue
            start, _, step = dims.range[axis]
            if round((world[axis - first] - start) / step) != dims.current_step[axis]:
                dims.set_point(axis, world[axis - first])

    def _in_view(self, point: Sequence[float], camera: Camera) -> bool:
        """Whether a point (y, x) lies well inside the canvas."""
        canvas = getattr(self.viewer, "canvas", self.viewer)
        size = getattr(canvas, "size", None)
        if size is None:
            return False
        half = np.asarray(size) / camera.zoom / 2
        return bool(np.all(np.abs(np.asarray(point) - camera.center[-2:]) < _WELL_INSIDE * half))

    def recolour(self, classes: Iterable[str]) -> None:
        """Colour the cells by these classes, in the order of the table."""
        calls = {i + 1: name for i, name in enumerate(classes)}
        self.cells.colormap = cell_colormap(calls, self.colours)
        self.in_3d.recolour()

    def _cells_layer(self) -> Labels:
        """Layer of the cells, complete before napari draws it."""
        from napari.layers import Labels

        table = self.session.table
        layer = Labels(
            pyramid_if_large(self.session.cells_image),
            visible=False,  # until `appear`: napari draws a visible layer again for each change
            name="cells by class",
            features=features_by_label(table, table.index + 1),
            opacity=0.9,
            metadata={"cellcam": self._metadata},
            colormap=cell_colormap(
                {i + 1: name for i, name in enumerate(self.session.calls)}, self.colours
            ),
            **self._placement,
        )
        layer.contour = _OUTLINE
        return layer


def is_result(layer: Layer) -> bool:
    """Whether a layer shows a result or a preview of CellCam, and is not offered as an image."""
    return bool({"model", "preview"} & set(cellcam_metadata(layer)))
