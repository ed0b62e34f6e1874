"""Cells in napari's 3-D view: outlines on every plane in place of napari's filled slabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.layers.appearance import cell_colormap
from napari_cellcam.layers.viewer_state import view_kept
from napari_cellcam.state.cell_outlines import CellOutlines, outline_cells
from napari_cellcam.work.tasks import Task

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels, Layer, Vectors

    from napari_cellcam.layers.cell_mark import CellMark
    from napari_cellcam.layers.mouse import MouseEvent
    from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement

_NAME, _MARK_NAME = "cell outlines in 3-D", "selected cell in 3-D"
# Of the image's longest side: thin lines, and a thicker one around the selected cell.
_THIN, _THICK = 1 / 600, 1 / 250
_OTHER_PLANES = 0.55  # opacity of the selected cell's outline on its other planes


class CellsIn3D:
    """Hides the labels in the 3-D view, and shows outlines there, computed when they are needed.

    What the user hides in one view is hidden in the other.

    Attributes
    ----------
    layer, mark_layer : outlines of all cells, and of the selected one; None until they are needed

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
        self._cells_image, self._metadata = cells_image, metadata
        self._to_cubes, self._placement = _cubic(placement, axes)
        self.layer: Vectors | None = None
        self.mark_layer: Vectors | None = None
        self._outlines: CellOutlines | None = None
        self._task: Task[CellOutlines] | None = None
        self._colours = np.ones((int(cells_image.max(initial=0)) + 1, 4), np.float32)
        self._marked: tuple[int, NDArray[np.int32]] = (0, np.zeros(0, np.int32))
        self._is_wanted = True

    def begin(self) -> None:
        """Follow the viewer from 2-D to 3-D and back."""
        events = self.viewer.dims.events.ndisplay
        # Before napari slices: it would load a volume of labels that nobody is to see.
        events.connect(self._hide_others, position="first")
        events.connect(self._show_ours)
        if self.is_3d:
            self._hide_others()
            self._show_ours()

    def end(self) -> None:
        """Follow no more, remove the outlines, and leave the labels as they are to be in 2-D."""
        events = self.viewer.dims.events.ndisplay
        events.disconnect(self._hide_others)
        events.disconnect(self._show_ours)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.is_3d:
            self.cells.visible = self._wanted_now()
        for layer in (self.layer, self.mark_layer):
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    @property
    def is_3d(self) -> bool:
        """Whether the viewer shows three dimensions."""
        return bool(self.viewer.dims.ndisplay == 3)

    def recolour(self, calls: Mapping[int, str], colours: Mapping[str, str]) -> None:
        """Colour cells by their class, see `cell_colormap`."""
        for number, colour in cell_colormap(calls, colours).color_dict.items():
            if number is not None and number < len(self._colours):
                self._colours[number] = colour
        if self.layer is not None and self._outlines is not None:
            self.layer.edge_color = self._colours[self._outlines.numbers]

    def mark(self, number: int, others: Sequence[int] = ()) -> None:
        """Mark a cell, and less brightly the same cell on other planes."""
        self._marked = number, np.array(others, np.int32)
        if self.is_3d:
            if self._mark.layer is not None:
                self._mark.layer.visible = False
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

    def _hide_others(self, _: object = None) -> None:
        """Hide what belongs to the view that is left."""
        if self.is_3d:
            self._is_wanted = self.cells.visible
            self.cells.visible = False
            if self._mark.layer is not None:
                self._mark.layer.visible = False
        else:
            self._is_wanted = self._wanted_now()
            for layer in (self.layer, self.mark_layer):
                if layer is not None:
                    layer.visible = False

    def _show_ours(self, _: object = None) -> None:
        """Show what belongs to the view that is entered."""
        if not self.is_3d:
            self.cells.visible = self._is_wanted
            if self._mark.layer is not None:
                self._mark.layer.visible = True
        elif self._outlines is not None:
            self._draw()
        elif self._task is None:
            self._task = Task("Outlining cells", self._keep, short=True, needs_torch=False)
            self._task.finished.connect(lambda task, outlines: task.on_result(outlines))
            self._task.start(outline_cells, self._cells_image)

    def _wanted_now(self) -> bool:
        """Whether cells are to be seen, as the user last said in the 3-D view."""
        if self.layer is None or self.layer not in self.viewer.layers:
            return self._is_wanted
        return bool(self.layer.visible)

    def _keep(self, outlines: CellOutlines) -> None:
        self._outlines, self._task = outlines, None
        if self.is_3d:
            self._draw()

    def _draw(self) -> None:
        assert self._outlines is not None
        if self.layer is None:
            colours = self._colours[self._outlines.numbers]
            self.layer = self._new_layer(self._outlines, colours, _THIN, _NAME)
        self._add(self.layer)
        self.layer.visible = self._is_wanted
        self._draw_mark()

    def _draw_mark(self) -> None:
        if self._outlines is None or not self._marked[0]:
            return
        number, others = self._marked
        outlines = self._outlines.of(np.append(others, number))
        colours = np.ones((len(outlines.numbers), 4), np.float32)
        colours[outlines.numbers != number, 3] = _OTHER_PLANES
        if self.mark_layer is None:
            self.mark_layer = self._new_layer(outlines, colours, _THICK, _MARK_NAME)
        else:
            self.mark_layer.data = outlines.lines * self._to_cubes
            self.mark_layer.edge_color = colours
        self._add(self.mark_layer)
        self.mark_layer.visible = True

    def _add(self, layer: Layer) -> None:
        if layer not in self.viewer.layers:
            with view_kept(self.viewer):
                self.viewer.layers.append(layer)

    def _new_layer(
        self, outlines: CellOutlines, colours: NDArray[np.float32], width: float, name: str
    ) -> Vectors:
        from napari.layers import Vectors

        longest = max(np.array(self._cells_image.shape[-2:]) * self._to_cubes[-2:])
        return Vectors(
            outlines.lines * self._to_cubes,
            edge_width=width * longest,
            edge_color=colours,
            vector_style="line",
            blending="translucent_no_depth",
            opacity=1.0,
            name=name,
            metadata={"cellcam": self._metadata},
            **self._placement,
        )


def _cubic(placement: Placement, axes: str) -> tuple[NDArray[np.float64], Placement]:
    """Factor along each axis from pixels to cubes, and the placement of cubes.

    napari draws lines as thick as a pixel is long: along z, lines on thick planes would be walls.
    The cubes are as large as the longest edge of a voxel, so that the steps of sliders stay.
    """
    scale = np.asarray(placement["scale"], float)
    is_space = np.array([axis in "ZYX" for axis in axes])
    cubes = np.where(is_space, scale[is_space].max(), scale)
    return scale / cubes, {**placement, "scale": cubes}
