"""The cells of a field or of a block of one, before any network sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    crop_windows,
    resized,
    shape_at_pixel_size,
)
from cellcam.cells.finding import (
    FieldScale,
    Labels,
    check_labels,
    find_cells,
    finding_channel,
)
from cellcam.models.spec import ModelSpec
from cellcam.pipeline.matching import field_seen, finding_choices, matching_channels
from cellcam.stacks.blocks import Block, Part
from cellcam.stacks.stack import Stack, ZChoice


@dataclass(frozen=True, eq=False)
class FoundField:
    """Cells and their crops, of a whole field or of one block.

    Attributes
    ----------
    stack : the whole image
    spec : of the model that the crops are for
    t, z : the field, as the model sees it
    core, read : part of the field that belongs to the block, and part that was read
    labels : int32 label image of ``read``
    cells : N cells that have their centroid in ``core``, or whose crops reach into it
        Positions are those on the whole field.
    owned : (N,) which of them have their centroid in ``core``
    crops : (N, C, *crop_size) raw counts at the model's scale
    shape_at_scale : of the whole field at the model's pixel size
    """

    stack: Stack
    spec: ModelSpec
    t: int
    z: ZChoice
    core: Part
    read: Part
    labels: Labels
    cells: CellPositions
    owned: NDArray[np.bool_]
    crops: NDArray[Any]
    shape_at_scale: tuple[int, ...]

    @property
    def read_at_scale(self) -> Part:
        """The pixels at the model's scale that were read."""
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
    stack: Stack,
    spec: ModelSpec,
    labels: NDArray[Any] | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    channels: Mapping[str, str] | None = None,
    find_channel: str | None = None,
    diameter_um: float | None = None,
    threshold: float | None = None,
    block: Block | None = None,
    scale: FieldScale | None = None,
) -> FoundField:
    """Find the cells of a field, or of one block of it, and cut out what the network will see.

    Parameters
    ----------
    labels : the user's label image of what is read
    block : the part of the field that is worked on; all of it by default
    scale : of the whole field, where a block is worked on

    Other parameters and errors are those of `explain_field`.
    """
    names = matching_channels(stack, spec, channels)
    z = field_seen(stack, spec, z)
    block = block or Block.all_of(stack.data.shape)
    window = stack.cut(*block.read.slices)
    if labels is None:
        choices = finding_choices(stack, spec, channels, find_channel, diameter_um)
        channel = finding_channel(stack, choices.pop("channel"))
        field = _read_once(window, t, z, [*names, channel])
        planes: ZChoice = "volume" if z == "volume" else None
        pixels = field.field(z=planes, channels=names)
        found = find_cells(field, channel, z=planes, threshold=threshold, scale=scale, **choices)
    else:
        pixels = window.field(t, z, names)
        found = check_labels(labels, pixels.shape[1:])
    core, read = block.core, block.read
    if found.ndim == 3:
        core, read = core.with_planes(len(found)), read.with_planes(len(found))
    shape = shape_at_pixel_size(stack, core.whole, spec.pixel_size_um)
    cells = CellPositions.of(found, read)
    cells = cells[_crops_reach(cells.at_scale(shape), core.at_scale(shape), spec.crop_size)]
    crops = crop_cells(
        _at_scale(pixels, shape, read), cells.at_scale(shape), spec.crop_size, read.at_scale(shape)
    )
    owned = np.all((cells.centres >= core.start) & (cells.centres < core.stop), axis=1)
    return FoundField(stack, spec, t, z, core, read, found, cells, owned, crops, shape)


def _read_once(window: Stack, t: int, z: ZChoice, names: Sequence[str]) -> Stack:
    """A field in memory, with these channels, as a stack of its own."""
    names = list(dict.fromkeys(names))
    pixels = window.field(t, z, names)
    axes = "CZYX" if z == "volume" else "CYX"
    return Stack.from_array(pixels, axes, names, window.pixel_size_um, window.name)


def _crops_reach(cells: CellPositions, core: Part, crop_size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which crops show a pixel of ``core``."""
    starts = crop_windows(cells, crop_size)
    return np.all((starts < core.stop) & (starts + crop_size > core.start), axis=1)


def _at_scale(pixels: NDArray[Any], shape: tuple[int, ...], read: Part) -> NDArray[Any]:
    """Pixels at the model's scale; integers stay integers where nothing is resampled."""
    if read.whole == shape:
        return pixels
    return resized(pixels, shape, own=read, wanted=read.at_scale(shape))
