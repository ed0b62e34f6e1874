"""Crops of the cells of one image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions, crop_cells, crop_windows, shape_at_pixel_size
from cellcam.cells.filled_crops import filled_crops, level_without_outlines
from cellcam.cells.finder import FieldView, Labels
from cellcam.cells.no_data import Mask
from cellcam.errors import InputError
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import Stack
from cellcam_training.tables.label_fields import (
    fields_of_rows,
    labelled_positions,
    labels_of_rows,
)
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
    shape = stack.data.shape[-len(geometry.crop_size) :]
    for chosen, time, z in fields_of_rows(rows, stack, geometry.field):
        here = rows.iloc[chosen]
        labels = labels_of_rows(here, stack, time, z) if geometry.place == "label" else None
        cells = cell_positions(here, geometry.place, shape, labels)
        view = _seen(FieldView.whole(stack, time, z), geometry)
        for numbers, crops, has_data in _crops_of_field(view, cells, labels, geometry):
            _refuse_without_data(here.iloc[numbers], has_data)
            yield chosen[numbers], crops


def _seen(view: FieldView, geometry: CropGeometry) -> FieldView:
    """The view with its fill measured; in memory if it is small."""
    channels = view.stack.channels
    if view.stack.data[0, :, 0].nbytes * math.prod(view.shape[:-2]) <= _BAND_BYTES:
        view = view.with_pixels(channels)
    pixel, crop = view.stack.pixel_size_um.x, geometry.pixel_size_um
    factor = crop[-1] / pixel if crop is not None and pixel is not None else 1.0
    return view.with_fill(channels, max(1, round(max(geometry.crop_size[-2:]) * factor)))


def _refuse_without_data(rows: pd.DataFrame, has_data: NDArray[np.bool_]) -> None:
    """Raise `InputError` with the rows whose cells have no pixels with data, if there are any."""
    if has_data.all():
        return
    # Rows are numbered as in the file, whose first line is the header.
    listed = ", ".join(str(row + 2) for row in rows["row"][~has_data][:10])
    raise InputError(
        f"{rows['image'].iloc[0]} has no data (not a number, or the fill of a mosaic) at the cells "
        f"of {int((~has_data).sum())} rows of the table: row {listed}. Delete these rows."
    )


def _indexed_crops(stack: Stack, index: NDArray[np.int64], geometry: CropGeometry) -> NumberedCrops:
    """Ready-made crops, cut or padded to the crop size."""
    for first in range(0, len(index), _CROPS_AT_ONCE):
        numbers = np.arange(first, min(first + _CROPS_AT_ONCE, len(index)))
        pixels = _with_data(np.asarray(stack.data[index[numbers]]), index[numbers], stack)
        pixels = pixels if geometry.field == "volume" else pixels.max(axis=2)
        if pixels.shape[2:] != geometry.crop_size:
            middle = _middle(pixels.shape[2:], 1)
            cut = [crop_cells(crop, middle, geometry.crop_size) for crop in pixels]
            pixels = np.concatenate(cut)
        yield numbers, pixels


def _crops_of_field(
    view: FieldView, cells: CellPositions, labels: Labels | None, geometry: CropGeometry
) -> Iterator[tuple[NDArray[np.int64], Pixels, NDArray[np.bool_]]]:
    """Crops of one field: band by band, or from the whole field where it is resampled.

    Yields
    ------
    numbers (n,) of the cells, their crops, and whether the cells have pixels with data
    """
    stack, channels = view.stack, view.stack.channels
    shape = shape_at_pixel_size(stack, cells.shape, geometry.pixel_size_um)
    bands = [(np.arange(len(cells)), 0, cells.shape[-2])]
    if shape == cells.shape:
        bands = list(_bands(stack, cells, geometry.crop_size))
    for numbers, top, bottom in bands:
        width = cells.shape[-1]
        band = view.cut(Part((top, 0), (bottom, width), cells.shape[-2:])).with_pixels(channels)
        part = band.part if len(shape) == 2 else band.part.with_planes(shape[0])
        own = None if labels is None else labels[..., top:bottom, :]
        chosen = CellPositions(cells.numbers[numbers], cells.centres[numbers], cells.shape)
        crops, _, has_data = filled_crops(
            band.stacked(channels), own, band.missing, chosen, part, shape, geometry.crop_size
        )
        yield numbers, crops, has_data


def _with_data(crops: Pixels, index: NDArray[np.int64], stack: Stack) -> Pixels:
    """Ready-made crops (n, C, Z, Y, X) whose NaN and infinity got the level of the crop."""
    if crops.dtype.kind != "f" or np.isfinite(crops).all():
        return crops
    lost: Mask = np.asarray(~np.isfinite(crops).all(axis=1))
    empty = np.asarray(lost.all(axis=(1, 2, 3)))
    if empty.any():
        listed = ", ".join(map(str, index[empty][:10]))
        raise InputError(f"{stack.name}: crops without data, of index {listed}. Delete these rows.")
    filled = crops.copy()
    for i in np.flatnonzero(np.asarray(lost.any(axis=(1, 2, 3)))):
        filled[i][:, lost[i]] = level_without_outlines(crops[i], lost[i])[:, None]
    return filled


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


def cell_positions(
    rows: pd.DataFrame, place: str, shape: tuple[int, ...], labels: Labels | None = None
) -> CellPositions:
    """Centres of the cells of one image in pixels of their field.

    Parameters
    ----------
    rows, place : see `CellTable`
    shape : of the field, (y, x) or (z, y, x)
    labels : label image of the field, for rows that name labels
    """
    if place == "label":
        assert labels is not None
        return labelled_positions(rows, labels)
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
