"""Crops of the cells of one image, read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    crop_windows,
    resized,
    shape_at_pixel_size,
)
from cellcam.errors import InputError
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack
from cellcam_training.tables.table_checks import BOX

if TYPE_CHECKING:
    import pandas as pd

# Of a larger field, only so much is in memory at a time; so many crops of a stack of crops.
_BAND_BYTES = 2**28
_CROPS_AT_ONCE = 1024


@dataclass(frozen=True)
class Seen:
    """How a cell is cut out of its image.

    Attributes
    ----------
    place : see `CellTable`
    field : what a stack with several planes is seen as, see `Recipe`
    crop_size : pixels, (y, x) or (z, y, x)
    pixel_size_um : of a crop, as many numbers; None leaves the image's own
    """

    place: str
    field: str
    crop_size: tuple[int, ...]
    pixel_size_um: tuple[float, ...] | None

    def dtype(self, stack: Stack) -> np.dtype[Any]:
        """Of the crops of an image."""
        shape = stack.data.shape[-len(self.crop_size) :]
        averaged = self.field == "mean" and stack.data.shape[2] > 1 and self.place != "index"
        as_it_is = shape_at_pixel_size(stack, shape, self.pixel_size_um) == shape
        return stack.data.dtype if as_it_is and not averaged else np.dtype(np.float32)


def crops_of_image(
    stack: Stack, rows: pd.DataFrame, seen: Seen
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Crops of the cells of one image, some cells at a time.

    Parameters
    ----------
    rows : the cells of this image, see `CellTable`

    Yields
    ------
    numbers among the rows, and their crops (n, C, *crop_size)

    Raises
    ------
    InputError
        If a label is not in its label image.
    """
    if seen.place == "index":
        yield from _indexed_crops(stack, rows["index"].to_numpy(int), seen)
        return
    t = rows["t"].to_numpy(int) if "t" in rows else np.zeros(len(rows), int)
    by_plane = "z" in rows and seen.field == "plane"
    z = rows["z"].to_numpy(int) if by_plane else np.zeros(len(rows), int)
    for time, plane in sorted(set(zip(t.tolist(), z.tolist(), strict=True))):
        chosen = np.flatnonzero((t == time) & (z == plane))
        view: Any = plane if by_plane else _view(stack, seen.field)
        shape = stack.data.shape[-len(seen.crop_size) :]
        cells = cell_positions(rows.iloc[chosen], seen.place, shape)
        for own, crops in _crops_of_field(stack, time, view, cells, seen):
            yield chosen[own], crops


def _view(stack: Stack, field: str) -> str | None:
    flat = stack.data.shape[2] == 1 and field != "volume"
    return None if flat or field == "plane" else field


def _indexed_crops(
    stack: Stack, index: NDArray[np.int64], seen: Seen
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    for first in range(0, len(index), _CROPS_AT_ONCE):
        own = np.arange(first, min(first + _CROPS_AT_ONCE, len(index)))
        pixels = np.asarray(stack.data[index[own]])
        pixels = pixels if seen.field == "volume" else pixels.max(axis=2)
        if pixels.shape[2:] != seen.crop_size:
            middle = _middle(pixels.shape[2:], 1)
            pixels = np.concatenate([crop_cells(one, middle, seen.crop_size) for one in pixels])
        yield own, pixels


def _crops_of_field(
    stack: Stack, time: int, view: Any, cells: CellPositions, seen: Seen
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Crops of one field: band by band, or from the whole field where it is resampled."""
    shape = shape_at_pixel_size(stack, cells.shape, seen.pixel_size_um)
    if shape != cells.shape:
        field = resized(stack.field(time, view), shape)
        yield np.arange(len(cells)), crop_cells(field, cells.at_scale(shape), seen.crop_size)
        return
    for own, top, bottom in _bands(stack, cells, seen.crop_size):
        band = replace(stack, data=stack.data[..., top:bottom, :]).field(time, view)
        offset = np.zeros(len(cells.shape))
        offset[-2] = top
        inside = CellPositions(cells.numbers[own], cells.centres[own] - offset, (*band.shape[1:],))
        yield own, crop_cells(band, inside, seen.crop_size)


def _bands(
    stack: Stack, cells: CellPositions, crop_size: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Cells whose crops lie in the same rows of a field, and the first and last of these rows.

    At the upper and lower edge of the field a band is high enough to be mirrored there.
    """
    height = cells.shape[-2]
    bytes_a_row = stack.data[0, ..., 0, :].nbytes
    most = max(2 * crop_size[-2], _BAND_BYTES // bytes_a_row)
    starts = crop_windows(cells, crop_size)[:, -2]
    order = np.argsort(starts, kind="stable")
    while len(order):
        top = max(0, min(int(starts[order[0]]), height - crop_size[-2]))
        n = max(1, int(np.searchsorted(starts[order], top + most - crop_size[-2], "right")))
        bottom = min(height, max(int(starts[order[n - 1]]), top) + crop_size[-2])
        yield order[:n], top, max(bottom, min(height, crop_size[-2]))
        order = order[n:]


def cell_positions(rows: pd.DataFrame, place: str, shape: tuple[int, ...]) -> CellPositions:
    """Centres of the cells of one image in pixels of their field; see `Seen` for ``place``."""
    if place == "label":
        return _labelled_positions(rows, shape)
    if place == "whole":
        return _middle(shape, len(rows))
    if place == "box":
        # Boxes are half-open: a box from 0 to 4 has its centre at pixel 1.5.
        left, top, right, bottom = rows[BOX].to_numpy(float).T
        x, y = (left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5
    else:
        x, y = rows["x"].to_numpy(float), rows["y"].to_numpy(float)
    centres = [y, x]
    if len(shape) == 3:
        middle = np.full(len(rows), (shape[0] - 1) / 2)
        centres = [rows["z"].to_numpy(float) if "z" in rows else middle, y, x]
    return CellPositions(np.arange(1, len(rows) + 1, dtype=np.int32), np.stack(centres, 1), shape)


def _middle(shape: tuple[int, ...], n: int) -> CellPositions:
    centres = np.repeat((np.array([shape]) - 1) / 2, n, axis=0)
    return CellPositions(np.arange(1, n + 1, dtype=np.int32), centres, shape)


def _labelled_positions(rows: pd.DataFrame, shape: tuple[int, ...]) -> CellPositions:
    files = rows["labels"].unique()
    if len(files) != 1:
        raise InputError(f"One image has several label images: {', '.join(files)}.")
    labels = open_stack(files[0])
    image = labels.field(0, "volume" if len(shape) == 3 else None)[0].astype(np.int32)
    cells = CellPositions.of(image)
    place = {number: i for i, number in enumerate(cells.numbers.tolist())}
    missing = [n for n in rows["label"].tolist() if n not in place]
    if missing:
        raise InputError(f"{files[0]} has no cell with the label {missing[0]}.")
    chosen = [place[n] for n in rows["label"].tolist()]
    return CellPositions(cells.numbers[chosen], cells.centres[chosen], shape)
