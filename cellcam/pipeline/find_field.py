"""Step 1: find the cells of a field, or of a block of one, and cut out their crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions, crop_windows, resized, shape_at_pixel_size
from cellcam.cells.filled_crops import filled_crops, missing_at_scale, show_one_value
from cellcam.cells.finder import CellFinder, FieldView, Labels, Pixels
from cellcam.cells.no_data import Fill, Mask
from cellcam.cells.numbering import Numbers, compacted
from cellcam.cells.user_labels import LabelFacts, UserLabels
from cellcam.models.network_input import NetworkInput
from cellcam.pipeline.matching import FieldPlace, MatchedStack
from cellcam.stacks.blocks import Block, Part
from cellcam.stacks.stack import Stack

_NO_DATA = (
    " % of the field has no data (not a number, or the fill of a mosaic or a registration) and "
    "was left out."
)


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
    crops : (N, C, *crop_size) counts at the model's pixel size; pixels without data have the level
        of the empty field around the cell
    shape_at_scale : of the whole field at the model's pixel size
    missing : bool image of ``read``, the pixels without data; None if all have
    lacks_data : (N,) whether pixels of the crop have no data, or all show one value
    several_pieces : (N,) whether the cell's number lies on several distant pieces
    can_be_called : (N,) whether there is one cell with data to call
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
    missing: Mask | None
    lacks_data: NDArray[np.bool_]
    several_pieces: NDArray[np.bool_]
    can_be_called: NDArray[np.bool_]
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
    def compact(self) -> tuple[Numbers, Labels]:
        """All labels of ``read``, and the label image in which they count 1, 2, ..."""
        return compacted(self.labels)

    @cached_property
    def missing_at_scale(self) -> Mask | None:
        """Pixels of ``read_at_scale`` without data."""
        return missing_at_scale(self.missing, self.shape_at_scale, self.read)

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
    fill: Fill | None = None,
) -> FoundCells:
    """Find the cells of a field, or of one block of it, and cut out what the network will see.

    Parameters
    ----------
    block : the rectangle of the field; all of it by default
    measured : what the finder measured on the whole field; by default it measures what is read
    fill : of the whole field; by default it is measured on what is read

    Raises
    ------
    InputError
        If the field does not exist, or the user's label image does not fit it.
    """
    stack, spec, finder = matched.stack, matched.spec, matched.finder
    block = block or Block.all_of(stack.data.shape)
    view = FieldView(stack, place.t, place.z, block.read)
    view = view.with_pixels([*matched.channels, *finder.channels])
    view = with_fill(view, matched) if fill is None else replace(view, fill=fill)
    measured = finder.measure(view) if measured is None else measured
    labels = finder.label(view, measured)
    if view.missing is not None and not isinstance(finder, UserLabels):
        labels = np.where(view.missing, 0, labels)
    core, read = block.core, block.read
    if labels.ndim == 3:
        core, read = core.with_planes(len(labels)), read.with_planes(len(labels))
    shape = shape_at_pixel_size(stack, core.whole, spec.pixel_size_um)
    cells = CellPositions.of(labels, read)
    cells = cells[_crops_reach(cells.at_scale(shape), core.at_scale(shape), spec.crop_size)]
    crops, lacks_data, has_data = filled_crops(
        view.stacked(matched.channels), labels, view.missing, cells, read, shape, spec.crop_size
    )
    is_blank = show_one_value(crops)
    several = np.zeros(len(cells), bool)
    if isinstance(measured, LabelFacts):
        several = np.isin(cells.numbers, measured.several_pieces)
    return FoundCells(
        matched,
        place,
        core,
        read,
        labels,
        cells,
        np.all((cells.centres >= core.start) & (cells.centres < core.stop), axis=1),
        crops,
        shape,
        view.missing,
        lacks_data | is_blank,
        several,
        has_data & ~is_blank & ~several,
        (
            *_about_data(view.fill),
            *(_about_channels(view, matched.channels) if read.shape == read.whole else ()),
            *_about_cells(finder, measured),
        ),
    )


def with_fill(view: FieldView, matched: MatchedStack) -> FieldView:
    """Same view of a whole field, with its fill measured in all channels that are used."""
    spec = matched.spec
    pixel, model = matched.stack.pixel_size_um.x, spec.pixel_size_um
    factor = model[-1] / pixel if model is not None and pixel is not None else 1.0
    crop = max(1, round(max(spec.crop_size[-2:]) * factor))
    return view.with_fill([*matched.channels, *matched.finder.channels], crop)


def _about_data(fill: Fill) -> tuple[str, ...]:
    if not fill.part:
        return ()
    share = f"{100 * fill.part:.0f}" if fill.part >= 0.01 else "Less than 1"
    return (f"{share}{_NO_DATA}",)


def _about_channels(view: FieldView, channels: Sequence[str]) -> Iterator[str]:
    """Channels of a whole field in which there is nothing to see."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(channels):
        pixels = view.pixels(name)
        low, high = pixels.min(), pixels.max()  # NaN if a single pixel is
        if low == high:
            found.setdefault(f"All pixels of {{}} have the value {low:g}.", []).append(name)
        elif pixels.dtype.kind == "f" and not np.isfinite(pixels).any():
            found.setdefault("No pixel of {} is a number.", []).append(name)
    for text, names in found.items():
        yield f"{text.format(', '.join(names))} Is this the image that was meant?"


def _about_cells(finder: CellFinder, measured: object) -> tuple[str, ...]:
    facts = getattr(measured, "notes", ())
    return (*(finder.notes if isinstance(finder, UserLabels) else ()), *facts)


def _crops_reach(cells: CellPositions, core: Part, crop_size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether each crop shows a pixel of ``core``: (N,)."""
    starts = crop_windows(cells, crop_size)
    return np.all((starts < core.stop) & (starts + crop_size > core.start), axis=1)
