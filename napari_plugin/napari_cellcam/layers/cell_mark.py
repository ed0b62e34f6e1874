"""The mark of the selected cell: a white ring in a layer of its own, as small as the cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.layers.viewer_state import add_inactive

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_cellcam.layers.stack_layers import CellCamMetadata, Placement

_NAME = "selected cell"
_RING = 2  # screen pixels
# Pixels of the image between the cell and its ring, so that the outline in the colour of its class
# stays visible.
_GAP = 2
_MARGIN = 2 * _GAP
_CELL, _ON_OTHER_PLANE = 1, 2  # values of the mark's pixels
_COLOURS: dict[int | None, object] = {
    None: "transparent",
    _CELL: "white",
    _ON_OTHER_PLANE: (1.0, 1.0, 1.0, 0.6),
}


class CellMark:
    """Marks one cell. The labels layer of all cells is not drawn again for it.

    Parameters
    ----------
    cells_image : label image of the cells
    placement : of the label image
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        cells_image: NDArray[np.int32],
        placement: Placement,
        metadata: CellCamMetadata,
        is_volume: bool,
    ) -> None:
        self.viewer, self._cells_image, self._placement = viewer, cells_image, placement
        self._metadata, self._is_volume = metadata, is_volume
        self.layer: Labels | None = None

    def show(
        self,
        number: int,
        middle: tuple[int, ...],
        others: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        """Mark the cell with this number.

        Parameters
        ----------
        middle : a pixel of the label image near the middle of the cell
        others : numbers of the same cell on other planes, and their middles: marked in grey
        """
        parts = [(_CELL, *self._cut_out(number, middle))]
        for other, there in (others or {}).items():
            parts.append((_ON_OTHER_PLANE, *self._cut_out(other, there)))
        start = np.min([first for _, first, _ in parts], axis=0)
        stop = np.max([first + part.shape for _, first, part in parts], axis=0)
        mask = np.zeros(stop - start, np.uint8)
        for value, first, part in parts:
            place = tuple(map(slice, first - start, first - start + part.shape))
            mask[place] = np.where(part, value, mask[place])
        self._show(start, mask)

    def _show(self, start: NDArray[np.intp], mask: NDArray[np.uint8]) -> None:
        scale = np.asarray(self._placement["scale"], float)
        translate = list(np.asarray(self._placement["translate"], float) + scale * start)
        if self.layer is None or self.layer not in self.viewer.layers:
            self.layer = self._new_layer(mask, {**self._placement, "translate": translate})
            add_inactive(self.viewer, self.layer)
        else:
            self.layer.translate = translate
            self.layer.data = mask

    def prepare(self) -> None:
        """Add the layer while no cell is marked: napari takes a quarter of a second for that."""
        if self.layer is None:
            empty = np.zeros((1,) * self._cells_image.ndim, np.uint8)
            self._show(np.zeros(empty.ndim, np.intp), empty)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the mark; in the 3-D view napari would fill it."""
        if self.layer is not None:
            self.layer.visible = visible

    def remove(self) -> None:
        """Remove the mark."""
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = None

    def _cut_out(
        self, number: int, middle: tuple[int, ...]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """First pixel of the cell's surroundings, and the cell in them."""
        from scipy.ndimage import binary_dilation

        image = self._cells_image
        n_spatial = 3 if self._is_volume else 2
        plane = image[middle[: image.ndim - n_spatial]]
        half = 64
        centre = np.array(middle[-n_spatial:])
        while True:  # until the cell lies well inside
            first = np.maximum(centre - half, 0)
            last = np.minimum(centre + half, plane.shape)
            part = plane[tuple(map(slice, first, last))] == number
            hit = np.argwhere(part)
            is_whole = (
                len(hit)
                and all((hit.min(0) > _MARGIN) | (first == 0))
                and all((hit.max(0) < np.array(part.shape) - 1 - _MARGIN) | (last == plane.shape))
            )
            if is_whole or half > max(plane.shape):
                break
            half *= 2
        start = np.concatenate([middle[: image.ndim - n_spatial], first]).astype(np.intp)
        part = binary_dilation(part, iterations=_GAP)
        mask = part.astype(np.uint8).reshape((1,) * (image.ndim - n_spatial) + part.shape)
        return start, mask

    def _new_layer(self, mask: NDArray[np.uint8], placement: Placement) -> Labels:
        from napari.layers import Labels
        from napari.utils import DirectLabelColormap

        white = DirectLabelColormap(color_dict=_COLOURS)
        layer = Labels(
            mask,
            name=_NAME,
            colormap=white,
            opacity=1.0,
            metadata={"cellcam": self._metadata},
            **placement,
        )
        layer.contour = _RING
        layer.visible = self.viewer.dims.ndisplay == 2
        layer.editable = False
        return layer
