"""Crops of cells whose surroundings have no data in places: there they show empty field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions, crop_cells, resized
from cellcam.cells.finder import Labels, Pixels
from cellcam.cells.no_data import Mask
from cellcam.cells.numbering import compacted
from cellcam.stacks.blocks import Part

# Pixels of empty field in a crop that are enough to measure its level.
_ENOUGH = 16
# Without empty field, the level below which so many percent of the pixels with data lie.
_LOW = 10


def filled_crops(
    pixels: Pixels,
    labels: Labels | None,
    missing: Mask | None,
    cells: CellPositions,
    own: Part,
    shape: tuple[int, ...],
    crop_size: Sequence[int],
) -> tuple[Pixels, NDArray[np.bool_], NDArray[np.bool_]]:
    """Crops of cells at another pixel size; pixels without data get the level of empty field.

    The level is that of the crop alone, so that it does not depend on other parts of the field:
    in each channel the median of the pixels with data outside all cells.

    Parameters
    ----------
    pixels : (C, *spatial) channels of the part ``own`` of the field
    labels : label image of the same part; None if the cells have no outlines
    missing : its pixels without data, or None
    cells : N positions, in pixels of the whole field
    own : the part
    shape : of the whole field at the pixel size of the crops
    crop_size : pixels along each spatial axis

    Returns
    -------
    crops : (N, C, *crop_size), integers where nothing is resampled
    lacks_data : (N,) whether pixels of the crop have no data
    has_data : (N,) whether pixels of the cell itself have; without labels, its centre
    """
    part = own.at_scale(shape)
    placed = cells.at_scale(shape)
    crops = crop_cells(_at_scale(pixels, missing, shape, own), placed, crop_size, part)
    has_data = np.ones(len(cells), bool)
    if missing is None:
        return crops, ~has_data, has_data
    scaled = missing_at_scale(missing, shape, own)
    assert scaled is not None
    lost = crop_cells(scaled[None], placed, crop_size, part)[:, 0]
    inside = _cells_in_crops(labels, placed, crop_size, own, part)
    is_incomplete: NDArray[np.bool_] = np.any(lost, axis=tuple(range(1, lost.ndim)))
    for i in np.flatnonzero(is_incomplete):
        in_cells = None if inside is None else inside[i] > 0
        crops[i][:, lost[i]] = _level(crops[i], lost[i], in_cells)[:, None]
    if labels is None:
        middle: tuple[Any, ...] = (slice(None), *((n - 1) // 2 for n in crop_size))
        return crops, is_incomplete, ~lost[middle]
    seen, _ = compacted(np.where(missing, 0, labels))
    return crops, is_incomplete, np.isin(cells.numbers, seen)


def missing_at_scale(missing: Mask | None, shape: tuple[int, ...], own: Part) -> Mask | None:
    """Pixels without data at another pixel size: all that any of them has a share in."""
    if missing is None or own.whole == shape:
        return missing
    return resized(missing.astype(np.float32), shape, own=own, wanted=own.at_scale(shape)) > 1e-3


def _at_scale(pixels: Pixels, missing: Mask | None, shape: tuple[int, ...], own: Part) -> Pixels:
    """Pixels at another pixel size; integers stay integers where nothing is resampled."""
    if own.whole == shape:
        return pixels
    if missing is not None:
        pixels = np.where(missing, 0, pixels)
    return resized(pixels, shape, own=own, wanted=own.at_scale(shape))


def show_one_value(crops: Pixels) -> NDArray[np.bool_]:
    """Whether all pixels of each crop have one value in each channel: (N,)."""
    first: tuple[Any, ...] = (..., *[slice(0, 1)] * (crops.ndim - 2))
    return np.asarray((crops == crops[first]).all(axis=tuple(range(1, crops.ndim))))


def _cells_in_crops(
    labels: Labels | None, placed: CellPositions, crop_size: Sequence[int], own: Part, part: Part
) -> Labels | None:
    """Label images (N, *crop_size) of crops at another pixel size."""
    if labels is None:
        return None
    scaled = resized(labels, part.whole, labels=True, own=own, wanted=part)
    crops: Labels = crop_cells(scaled[None], placed, crop_size, part)[:, 0]
    return crops


def _level(crop: Pixels, lost: Mask, in_cells: Mask | None) -> Pixels:
    """Level of empty field in each channel of a crop (C,), in the crop's dtype."""
    if in_cells is None or int((~lost & ~in_cells).sum()) < _ENOUGH:
        return level_without_outlines(crop, lost)
    return _as_pixels(np.median(crop[:, ~lost & ~in_cells].astype(np.float64), axis=1), crop)


def level_without_outlines(crop: Pixels, lost: Mask) -> Pixels:
    """A low level of each channel of a crop (C,), which shows no empty field for certain.

    Parameters
    ----------
    crop : (C, *spatial)
    lost : its pixels without data
    """
    if lost.all():
        return np.zeros(len(crop), crop.dtype)
    return _as_pixels(np.percentile(crop[:, ~lost].astype(np.float64), _LOW, axis=1), crop)


def _as_pixels(level: NDArray[np.float64], crop: Pixels) -> Pixels:
    whole = crop.dtype.kind in "ui"
    return (np.round(level) if whole else level).astype(crop.dtype)
