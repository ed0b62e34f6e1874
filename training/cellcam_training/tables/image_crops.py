"""Crops of the cells of one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

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
from cellcam.stacks.stack import Stack, ZChoice
from cellcam_training.tables.table_checks import BOX

if TYPE_CHECKING:
    import pandas as pd

FieldName = Literal["plane", "max", "mean", "volume"]
Pixels = NDArray[np.generic]
NumberedCrops = Iterator[tuple[NDArray[np.int64], Pixels]]

# A field larger than this is read in bands of rows.
_BAND_BYTES = 2**28
# Batch size for reading a stack of ready-made crops.
_CROPS_AT_ONCE = 1024


@dataclass(frozen=True)
class CropGeometry:
    """How the crop of a cell is cut out of its image.

    Attributes
    ----------
    place : how cells are located, see `CellTable`
    field : how a stack with several planes is reduced, see `CropSettings`
    crop_size : pixels, (y, x) or (z, y, x)
    pixel_size_um : of a crop, one number for each axis; None: no resampling
    """

    place: str
    field: FieldName
    crop_size: tuple[int, ...]
    pixel_size_um: tuple[float, ...] | None

    def dtype(self, stack: Stack) -> np.dtype[np.generic]:
        """Type of the crops of an image: its own, or float32 after averaging or resampling."""
        shape = stack.data.shape[-len(self.crop_size) :]
        averaged = self.field == "mean" and stack.data.shape[2] > 1 and self.place != "index"
        resampled = shape_at_pixel_size(stack, shape, self.pixel_size_um) != shape
        return np.dtype(np.float32) if averaged or resampled else stack.data.dtype


def crops_of_image(stack: Stack, rows: pd.DataFrame, geometry: CropGeometry) -> NumberedCrops:
    """Crops of the cells of one image, in batches.

    Parameters
    ----------
    rows : the cells of this image, see `CellTable`

    Yields
    ------
    row numbers (n,) within ``rows``, and crops (n, C, *crop_size)

    Raises
    ------
    InputError
        If a label is not in its label image.
    """
    if geometry.place == "index":
        yield from _indexed_crops(stack, rows["index"].to_numpy(int), geometry)
        return
    t = rows["t"].to_numpy(int) if "t" in rows else np.zeros(len(rows), int)
    by_plane = "z" in rows and geometry.field == "plane"
    z = rows["z"].to_numpy(int) if by_plane else np.zeros(len(rows), int)
    for time, plane in sorted(set(zip(t.tolist(), z.tolist(), strict=True))):
        chosen = np.flatnonzero((t == time) & (z == plane))
        view: ZChoice = plane if by_plane else _view(stack, geometry.field)
        shape = stack.data.shape[-len(geometry.crop_size) :]
        cells = cell_positions(rows.iloc[chosen], geometry.place, shape)
        for numbers, crops in _crops_of_field(stack, time, view, cells, geometry):
            yield chosen[numbers], crops


def _view(stack: Stack, field: FieldName) -> ZChoice:
    """Argument ``z`` of `Stack.field`; None for the only plane."""
    flat = stack.data.shape[2] == 1 and field != "volume"
    return None if flat or field == "plane" else field


def _indexed_crops(stack: Stack, index: NDArray[np.int64], geometry: CropGeometry) -> NumberedCrops:
    """Ready-made crops, cut or padded to the crop size."""
    for first in range(0, len(index), _CROPS_AT_ONCE):
        numbers = np.arange(first, min(first + _CROPS_AT_ONCE, len(index)))
        pixels = np.asarray(stack.data[index[numbers]])
        pixels = pixels if geometry.field == "volume" else pixels.max(axis=2)
        if pixels.shape[2:] != geometry.crop_size:
            middle = _middle(pixels.shape[2:], 1)
            cut = [crop_cells(crop, middle, geometry.crop_size) for crop in pixels]
            pixels = np.concatenate(cut)
        yield numbers, pixels


def _crops_of_field(
    stack: Stack, time: int, view: ZChoice, cells: CellPositions, geometry: CropGeometry
) -> NumberedCrops:
    """Crops of one field: band by band, or from the whole field where it is resampled."""
    shape = shape_at_pixel_size(stack, cells.shape, geometry.pixel_size_um)
    if shape != cells.shape:
        field = resized(stack.field(time, view), shape)
        crops = crop_cells(field, cells.at_scale(shape), geometry.crop_size)
        yield np.arange(len(cells)), crops
        return
    for numbers, top, bottom in _bands(stack, cells, geometry.crop_size):
        band = replace(stack, data=stack.data[..., top:bottom, :]).field(time, view)
        offset = np.zeros(len(cells.shape))
        offset[-2] = top
        centres = cells.centres[numbers] - offset
        inside = CellPositions(cells.numbers[numbers], centres, (*band.shape[1:],))
        yield numbers, crop_cells(band, inside, geometry.crop_size)


def _bands(
    stack: Stack, cells: CellPositions, crop_size: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Cells whose crops lie in one band of rows, and the half-open range of these rows.

    At the upper and lower edge of the field a band is high enough for mirror padding.
    """
    height = cells.shape[-2]
    row_bytes = stack.data[0, ..., 0, :].nbytes
    most = max(2 * crop_size[-2], _BAND_BYTES // row_bytes)
    starts = crop_windows(cells, crop_size)[:, -2]
    order = np.argsort(starts, kind="stable")
    while len(order):
        top = max(0, min(int(starts[order[0]]), height - crop_size[-2]))
        n = max(1, int(np.searchsorted(starts[order], top + most - crop_size[-2], "right")))
        bottom = min(height, max(int(starts[order[n - 1]]), top) + crop_size[-2])
        yield order[:n], top, max(bottom, min(height, crop_size[-2]))
        order = order[n:]


def cell_positions(rows: pd.DataFrame, place: str, shape: tuple[int, ...]) -> CellPositions:
    """Centres of the cells of one image in pixels of their field.

    Parameters
    ----------
    rows, place : see `CellTable`
    shape : of the field, (y, x) or (z, y, x)

    Raises
    ------
    InputError
        If a label is not in its label image.
    """
    if place == "label":
        return _labelled_positions(rows, shape)
    if place == "whole":
        return _middle(shape, len(rows))
    if place == "box":
        # Boxes are half-open: the centre of a box from 0 to 4 is at pixel 1.5.
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
    """The centre of the image, n times."""
    centres = np.repeat((np.array([shape]) - 1) / 2, n, axis=0)
    return CellPositions(np.arange(1, n + 1, dtype=np.int32), centres, shape)


def _labelled_positions(rows: pd.DataFrame, shape: tuple[int, ...]) -> CellPositions:
    """Centroids of labels."""
    files = rows["labels"].unique()
    if len(files) != 1:
        raise InputError(f"One image has several label images: {', '.join(files)}.")
    labels = open_stack(files[0])
    image = labels.field(0, "volume" if len(shape) == 3 else None)[0].astype(np.int32)
    cells = CellPositions.of(image)
    position = {number: i for i, number in enumerate(cells.numbers.tolist())}
    missing = [n for n in rows["label"].tolist() if n not in position]
    if missing:
        raise InputError(f"{files[0]} has no cell with the label {missing[0]}.")
    chosen = [position[n] for n in rows["label"].tolist()]
    return CellPositions(cells.numbers[chosen], cells.centres[chosen], shape)
