"""Outlines of cells as one layer of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.layers.viewer_state import view_kept

if TYPE_CHECKING:
    import napari
    from napari.layers import Vectors

    from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement
    from napari_cellcam.state.cell_outlines import CellOutlines


_TILT = 1e-3  # pixels, off the axes


class LinesLayer:
    """A layer of lines that comes into the viewer when it is first shown.

    Attributes
    ----------
    layer : None before

    Parameters
    ----------
    placement, axes : of the label image that is outlined, axes as letters of TZYX
    width : of a line, in pixels of the image
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        name: str,
        width: float,
        placement: Placement,
        axes: str,
        metadata: CellCamMetadata,
    ) -> None:
        self.viewer, self._name, self._metadata = viewer, name, metadata
        self._to_cubes, self._placement = _cubic(placement, axes)
        self._width = width * self._to_cubes[-1]
        self.layer: Vectors | None = None
        self._outlines: CellOutlines | None = None
        self._colours = np.zeros((0, 4), np.float32)

    @property
    def is_there(self) -> bool:
        """Whether the layer is in the viewer; the user may have deleted it."""
        return self.layer is not None and self.layer in self.viewer.layers

    def show(
        self, outlines: CellOutlines, colours: NDArray[np.float32], visible: bool = True
    ) -> None:
        """Show these lines, (M, 4) colours; or have them ready for the user to make visible."""
        is_new = outlines is not self._outlines
        is_new = is_new or not np.array_equal(colours, self._colours)
        if is_new and not visible:
            self.remove()  # napari mixes up the lines of a layer that changes while it is hidden
        if not self.is_there:
            self._add(outlines, colours, visible)
        elif self.layer is not None:
            self.layer.visible = visible
            if outlines is not self._outlines:
                self.layer.data = self._in_cubes(outlines)
            if is_new:
                self.layer.edge_color = colours
        self._outlines, self._colours = outlines, colours

    def hide(self) -> None:
        """Hide the lines."""
        if self.layer is not None:
            self.layer.visible = False

    def remove(self) -> None:
        """Remove the layer from the viewer."""
        if self.layer is not None and self.is_there:
            with view_kept(self.viewer):
                self.viewer.layers.remove(self.layer)
        self.layer = self._outlines = None

    def _in_cubes(self, outlines: CellOutlines) -> NDArray[np.float64]:
        lines = outlines.lines * self._to_cubes
        # napari draws a line as two crossed bands, one of which has no width where the line is
        # parallel to the first or the last axis: seen from aside it would vanish.
        lines[lines[:, 1, -2] == 0, 1, -2] = _TILT
        return lines

    def _add(self, outlines: CellOutlines, colours: NDArray[np.float32], visible: bool) -> None:
        from napari.layers import Vectors

        self.layer = Vectors(
            self._in_cubes(outlines),
            edge_width=self._width,
            edge_color=colours,
            vector_style="line",
            blending="translucent_no_depth",
            opacity=0.8,
            name=self._name,
            visible=visible,
            metadata={"cellcam": self._metadata},
            **self._placement,
        )
        with view_kept(self.viewer):
            self.viewer.layers.append(self.layer)


def _cubic(placement: Placement, axes: str) -> tuple[NDArray[np.float64], Placement]:
    """Factor along each axis from pixels to cubes, and the placement of cubes.

    napari draws lines as thick as a pixel is long: along z, lines on thick planes would be walls.
    The cubes are as large as the longest edge of a voxel, so that the steps of sliders stay.
    """
    scale = np.asarray(placement["scale"], float)
    is_space = np.array([axis in "ZYX" for axis in axes])
    cubes = np.where(is_space, scale[is_space].max(), scale)
    return scale / cubes, {**placement, "scale": cubes}
