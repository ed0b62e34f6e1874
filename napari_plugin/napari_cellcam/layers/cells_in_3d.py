"""Cells in napari's 3-D view: outlines on every plane in place of napari's filled slabs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_cellcam.layers.lines_layer import LinesLayer
from napari_cellcam.state.cell_outlines import CellOutlines, outline_cells
from napari_cellcam.work.tasks import Task

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_cellcam.layers.cell_mark import CellMark
    from napari_cellcam.layers.mouse import MouseEvent
    from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement

# Of the image's longest side: thin lines, and thicker ones around the selected cell.
_THIN, _THICK = 1 / 500, 1 / 300
_NEXT_TURN_MS = 20  # of the event loop


class CellsIn3D:
    """Hides the labels in the 3-D view, and shows outlines there, computed when they are needed.

    What the user hides in one view is hidden in the other.

    Attributes
    ----------
    all, marked : outlines of all cells, and of the selected one

    Parameters
    ----------
    cells, mark : the labels that are shown in 2-D
    cells_image, placement : pixels of ``cells`` and where they lie
    axes : of ``cells_image``, letters of TZYX
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        cells: Labels,
        mark: CellMark,
        cells_image: NDArray[np.int32],
        placement: Placement,
        axes: str,
        metadata: CellCamMetadata,
    ) -> None:
        self.viewer, self.cells, self._mark = viewer, cells, mark
        self._cells_image = cells_image
        longest, place = max(cells_image.shape[-2:]), (placement, axes, metadata)
        self.all = LinesLayer(viewer, "cell outlines in 3-D", _THIN * longest, *place)
        self.marked = LinesLayer(viewer, "selected cell in 3-D", _THICK * longest, *place)
        self._outlines: CellOutlines | None = None
        self._task: Task[CellOutlines] | None = None
        self._number, self._others = 0, cast("Sequence[int]", ())
        self._is_following = False
        self._is_wanted = True  # whether cells are to be seen, as the user last said

    def begin(self) -> None:
        """Follow the viewer from 2-D to 3-D and back."""
        # napari slices hidden labels too, and then warns that their outlines are not drawn.
        warnings.filterwarnings("ignore", "Contours are not displayed")
        self._is_following = True
        self.viewer.dims.events.ndisplay.connect(self._follow)
        if self.is_3d:
            self._follow()

    def end(self) -> None:
        """Follow no more, remove the outlines, and leave the labels as they are to be in 2-D."""
        self._is_following = False
        self.viewer.dims.events.ndisplay.disconnect(self._follow)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.is_3d:
            self._show_labels()
        self.all.remove()
        self.marked.remove()

    @property
    def is_3d(self) -> bool:
        """Whether the viewer shows three dimensions."""
        return bool(self.viewer.dims.ndisplay == 3)

    def recolour(self) -> None:
        """Colour the outlines as the labels are coloured now."""
        if self.is_3d and self.all.layer is not None:
            self._is_wanted = bool(self.all.layer.visible)
            self._draw()

    def mark(self, number: int, others: Sequence[int] = ()) -> None:
        """Mark a cell, with a box around it and the same cell on other planes."""
        self._number, self._others = number, others
        self._draw_mark()

    def number_at(self, event: MouseEvent) -> int:
        """Number of the first cell along the line of sight; 0 beside cells."""
        image, layer = self._cells_image, self.cells
        start = np.asarray(layer.world_to_data(event.position))
        assert event.view_direction is not None  # napari gives one in 3-D
        ahead = np.add(event.position, event.view_direction)
        direction = np.asarray(layer.world_to_data(ahead)) - start
        first = len(event.position) - image.ndim
        is_fixed = [axis + first not in event.dims_displayed for axis in range(image.ndim)]
        direction[is_fixed] = 0
        length = np.linalg.norm(direction)
        if not length:
            return 0
        # The position is anywhere on the line: look from before the image to behind it.
        reach = np.linalg.norm(image.shape) + np.linalg.norm(start - np.array(image.shape) / 2)
        points = start + np.arange(-reach, reach, 0.5)[:, None] * direction / length
        points = np.round(points).astype(int)
        points = points[np.all((points >= 0) & (points < image.shape), axis=1)]
        numbers = image[tuple(points.T)]
        hit = np.flatnonzero(numbers)
        return int(numbers[hit[0]]) if len(hit) else 0

    def _follow(self, _: object = None) -> None:
        """Show what belongs to the present view, and hide the rest."""
        if not self.is_3d:
            self._show_labels()
            return
        self._is_wanted = bool(self.cells.visible)
        self.cells.visible = False
        self._mark.set_visible(False)
        if self._outlines is not None:
            self._draw()
        elif self._task is None:
            self._task = Task("Outlining cells", self._keep, short=True, needs_torch=False)
            self._task.finished.connect(lambda task, outlines: task.on_result(outlines))
            self._task.start(outline_cells, self._cells_image)

    def _show_labels(self) -> None:
        if self.all.layer is not None and self.all.is_there:
            self._is_wanted = bool(self.all.layer.visible)
        self.all.hide()
        self.marked.hide()
        self.cells.visible = self._is_wanted
        self._mark.set_visible(True)

    def _keep(self, outlines: CellOutlines) -> None:
        self._outlines, self._task = outlines, None
        if self.is_3d:
            self.all.show(outlines, self._colours_of(outlines), self._is_wanted)
            # Each new layer takes a tenth of a second.
            QTimer.singleShot(_NEXT_TURN_MS, self._draw_mark)

    def _draw(self) -> None:
        assert self._outlines is not None
        self.all.show(self._outlines, self._colours_of(self._outlines), self._is_wanted)
        self._draw_mark()

    def _colours_of(self, outlines: CellOutlines) -> NDArray[np.float32]:
        """Colour (M, 4) of each line: that of its cell's label."""
        by_number = self.cells.colormap.color_dict
        numbers, line = np.unique(outlines.numbers, return_inverse=True)
        colours = [by_number.get(int(number), by_number[None]) for number in numbers]
        return np.array(colours, np.float32).reshape(-1, 4)[line]

    def _draw_mark(self) -> None:
        if not (self._is_following and self.is_3d and self._number and self._outlines):
            return
        outlines = self._outlines.marked(self._number, self._others)
        self.marked.show(outlines, np.ones((len(outlines.numbers), 4), np.float32))
