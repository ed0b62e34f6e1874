"""Step 1: find the cells of a field, or of a block of one, and cut out their crops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    crop_windows,
    resized,
    shape_at_pixel_size,
)
from cellcam.cells.finder import FieldView, Labels, Pixels
from cellcam.models.network_input import NetworkInput
from cellcam.pipeline.matching import FieldPlace, MatchedStack
from cellcam.stacks.blocks import Block, Part
from cellcam.stacks.stack import Stack


@dataclass(frozen=True, eq=False)
class FoundCells:
    """The cells of a field, or of one block of it, and their crops.

    Attributes
    ----------
    matched : the whole image and the model
    place : the field
    core, read : rectangle of the field that belongs to the block, and rectangle that was read
    labels : int32 label image of ``read``
    cells : N cells whose centroid lies in ``core``, or whose crops reach into it
        Positions are those on the whole field.
    owned : (N,) whether their centroid lies in ``core``
    crops : (N, C, *crop_size) raw counts at the model's pixel size
    shape_at_scale : of the whole field at the model's pixel size
    notes : what the user must know about how the cells were found
    """

    matched: MatchedStack
    place: FieldPlace
    core: Part
    read: Part
    labels: Labels
    cells: CellPositions
    owned: NDArray[np.bool_]
    crops: Pixels
    shape_at_scale: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def stack(self) -> Stack:
        """The whole image."""
        return self.matched.stack

    @property
    def spec(self) -> NetworkInput:
        """Description of the model that the crops are for."""
        return self.matched.spec

    @property
    def read_at_scale(self) -> Part:
        """Pixels at the model's pixel size that ``read`` covers."""
        return self.read.at_scale(self.shape_at_scale)

    @cached_property
    def cells_at_scale(self) -> CellPositions:
        """The cells at the model's pixel size."""
        return self.cells.at_scale(self.shape_at_scale)

    @cached_property
    def labels_at_scale(self) -> Labels:
        """Label image of ``read_at_scale``."""
        return resized(
            self.labels, self.shape_at_scale, labels=True, own=self.read, wanted=self.read_at_scale
        )


def find_field(
    matched: MatchedStack,
    place: FieldPlace,
    block: Block | None = None,
    measured: object = None,
) -> FoundCells:
    """Find the cells of a field, or of one block of it, and cut out what the network will see.

    Parameters
    ----------
    block : the rectangle of the field; all of it by default
    measured : what the finder measured on the whole field; by default it measures what is read

    Raises
    ------
    InputError
        If the field does not exist, or the user's label image does not fit it.
    """
    stack, spec, finder = matched.stack, matched.spec, matched.finder
    block = block or Block.all_of(stack.data.shape)
    view = FieldView(stack, place.t, place.z, block.read)
    view = view.with_pixels([*matched.channels, *finder.channels])
    labels = finder.label(view, finder.measure(view) if measured is None else measured)
    core, read = block.core, block.read
    if labels.ndim == 3:
        core, read = core.with_planes(len(labels)), read.with_planes(len(labels))
    shape = shape_at_pixel_size(stack, core.whole, spec.pixel_size_um)
    cells = CellPositions.of(labels, read)
    cells = cells[_crops_reach(cells.at_scale(shape), core.at_scale(shape), spec.crop_size)]
    pixels = np.stack([view.pixels(name) for name in matched.channels])
    crops = crop_cells(
        _at_scale(pixels, shape, read), cells.at_scale(shape), spec.crop_size, read.at_scale(shape)
    )
    owned = np.all((cells.centres >= core.start) & (cells.centres < core.stop), axis=1)
    return FoundCells(matched, place, core, read, labels, cells, owned, crops, shape)


def _crops_reach(cells: CellPositions, core: Part, crop_size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether each crop shows a pixel of ``core``: (N,)."""
    starts = crop_windows(cells, crop_size)
    return np.all((starts < core.stop) & (starts + crop_size > core.start), axis=1)


def _at_scale(pixels: Pixels, shape: tuple[int, ...], read: Part) -> Pixels:
    """Pixels at the model's pixel size; integers stay integers where nothing is resampled."""
    if read.whole == shape:
        return pixels
    return resized(pixels, shape, own=read, wanted=read.at_scale(shape))
