"""Crops around cells in; importance maps pasted back onto the field out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import Labels
from cellcam.errors import InputError
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import Stack


@dataclass(frozen=True)
class CellPositions:
    """Which cells a label image holds, and where.

    Attributes
    ----------
    numbers : (N,) ascending labels
    centres : (N, n_axes) centroids in pixels
    shape : of the label image
    """

    numbers: NDArray[np.int32]
    centres: NDArray[np.float64]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: Labels, part: Part | None = None) -> CellPositions:
        """Positions of all cells of a label image, or of the part of one that ``labels`` holds.

        Sums of whole numbers are exact: every part that holds a cell gives it the same centre.
        """
        part = part or Part.all_of(labels.shape)
        areas = np.bincount(labels.ravel(), minlength=1)
        areas[0] = 0
        numbers = np.flatnonzero(areas)
        sums = np.empty((len(numbers), labels.ndim))
        for axis, first in enumerate(part.start):
            places = np.arange(first, first + labels.shape[axis], dtype=np.float64)
            places = places.reshape(-1, *[1] * (labels.ndim - axis - 1))
            weights = np.broadcast_to(places, labels.shape).ravel()
            sums[:, axis] = np.bincount(labels.ravel(), weights)[numbers]
        centres = sums / areas[numbers, None]
        return cls(numbers.astype(np.int32), centres, part.whole)

    def at_scale(self, shape: tuple[int, ...]) -> CellPositions:
        """The same cells on the field resized to ``shape`` (pixel centres at half integers)."""
        factor = np.array(shape) / np.array(self.shape)
        return CellPositions(self.numbers, (self.centres + 0.5) * factor - 0.5, shape)

    def __getitem__(self, part: slice | NDArray[np.bool_]) -> CellPositions:
        return CellPositions(self.numbers[part], self.centres[part], self.shape)

    def __len__(self) -> int:
        return len(self.numbers)


def shape_at_pixel_size(
    stack: Stack, shape: Sequence[int], pixel_size_um: Sequence[float] | None
) -> tuple[int, ...]:
    """Shape that a field of the stack has at another pixel size.

    Parameters
    ----------
    stack : whose pixel size the field has
    shape : of the field, (Y, X) or (Z, Y, X)
    pixel_size_um : wanted, one number for each axis; None leaves the field as it is

    Raises
    ------
    InputError
        If a pixel size is wanted and the stack's is unknown.
    """
    if pixel_size_um is None:
        return tuple(shape)
    scaled = []
    stated = stack.pixel_size_um[-len(shape) :]
    for length, own, wanted in zip(shape, stated, pixel_size_um, strict=True):
        if own is None:
            raise InputError(
                f"The model sees pixels of {wanted:g} um, but the pixel size of {stack.name} is "
                "unknown. Give it with pixel_size_um=... (--pixel-size)."
            )
        # Closer than 1 % is the same size: resampling would only blur.
        factor = own / wanted if abs(own / wanted - 1) > 0.01 else 1.0
        scaled.append(max(1, round(length * factor)))
    return tuple(scaled)


def resized(
    field: NDArray[Any],
    shape: Sequence[int],
    *,
    labels: bool = False,
    own: Part | None = None,
    wanted: Part | None = None,
) -> NDArray[Any]:
    """Field or label image at another pixel size, or a part of it.

    Linear interpolation between pixel centres, mirrored at the field's edge; where pixels get
    larger, after Gaussian smoothing with half of what the factor exceeds 1. A part gets the
    same values as the whole.

    Parameters
    ----------
    field : (..., *spatial) array; leading axes are kept
    shape : spatial shape wanted of the whole field
    labels : take the nearest pixel instead of interpolating
    own, wanted : the part that ``field`` holds, and the one of the resized field that is wanted

    Returns
    -------
    float32 array, or the input's dtype for labels; a view where nothing is resampled
    """
    from scipy import ndimage

    shape = tuple(shape)
    own = own or Part.all_of(field.shape[-len(shape) :])
    wanted = wanted or Part.all_of(shape)
    if own.whole == shape:
        inside: tuple[Any, ...] = (..., *wanted.within(own))
        field = field[inside]
        return field if labels else field.astype(np.float32, copy=False)
    factors = np.array(own.whole) / np.array(shape)
    if not labels:
        sigma = np.maximum(0, (factors - 1) / 2)
        field = ndimage.gaussian_filter(
            field.astype(np.float32), (*[0] * (field.ndim - len(shape)), *sigma), mode="mirror"
        )
    for axis, factor in enumerate(factors, field.ndim - len(shape)):
        i = axis - field.ndim + len(shape)
        places = (np.arange(wanted.start[i], wanted.stop[i]) + 0.5) * factor - 0.5
        places = _mirrored(places, own.whole[i]) - own.start[i]
        field = _interpolated(field, np.clip(places, 0, field.shape[axis] - 1), axis, labels)
    return field


def _mirrored(places: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Places outside an axis of pixels, mirrored at the centres of its first and last pixel."""
    inside = np.abs(places)
    return np.where(inside > length - 1, 2 * (length - 1) - inside, inside)


def _interpolated(
    field: NDArray[Any], places: NDArray[np.float64], axis: int, nearest: bool
) -> NDArray[Any]:
    """Values between the pixels along one axis."""
    if nearest:
        return field.take(np.floor(places + 0.5).astype(np.intp), axis)
    first = np.minimum(places.astype(np.intp), max(0, field.shape[axis] - 2))
    second = np.minimum(first + 1, field.shape[axis] - 1)
    weight = (places - first).astype(np.float32).reshape(-1, *[1] * (field.ndim - axis - 1))
    return field.take(first, axis) * (1 - weight) + field.take(second, axis) * weight


def crop_windows(cells: CellPositions, crop_size: Sequence[int]) -> NDArray[np.int64]:
    """First pixel of each crop: (N, n_axes), negative where a crop begins outside the field."""
    size = np.asarray(crop_size)
    return np.floor(cells.centres - size / 2 + 1).astype(np.int64)


def crop_cells(
    field: NDArray[Any],
    cells: CellPositions,
    crop_size: Sequence[int],
    part: Part | None = None,
) -> NDArray[Any]:
    """Crops of one size around the cells.

    Parameters
    ----------
    field : (C, *spatial) array
    cells : positions in pixels of the whole field
    crop_size : pixels along each spatial axis
    part : of the whole field that ``field`` holds, unless it is all of it

    Returns
    -------
    (N, C, *crop_size) array in the field's dtype; beyond the field's edge it is mirrored
    """
    starts = crop_windows(cells, crop_size)
    if part is not None:
        starts = starts - part.start
    padded, before = _padded(field, starts, crop_size)
    crops = np.empty((len(starts), len(field), *crop_size), field.dtype)
    for crop, start in zip(crops, starts + before, strict=True):
        crop[...] = padded[(slice(None), *map(slice, start, start + crop_size))]
    return crops


def reaches_outside(cells: CellPositions, crop_size: Sequence[int]) -> NDArray[np.bool_]:
    """Which crops reach over the edge of the field: (N,)."""
    starts = crop_windows(cells, crop_size)
    outside = (starts < 0) | (starts + crop_size > np.asarray(cells.shape))
    return np.any(outside, axis=1)


def nearest_cells(labels: Labels, crop_size: Sequence[int]) -> Labels:
    """Label of the cell that each pixel belongs to: its own, or the nearest one's within reach."""
    from skimage.segmentation import expand_labels

    return expand_labels(labels, distance=max(crop_size)).astype(np.int32)


def paste_maps(
    canvas: NDArray[np.float32],
    maps: NDArray[np.float32],
    planes: NDArray[np.integer[Any]],
    cells: CellPositions,
    owner: Labels,
    part: Part | None = None,
) -> None:
    """Put maps of single cells onto the field, each pixel from one cell only.

    A pixel inside a cell shows that cell's map; a background pixel the nearest cell's, as
    far as its crop reaches. So where crops overlap nothing is counted twice.

    Parameters
    ----------
    canvas : (P, *spatial), changed in place
    maps : (N, K, *crop_size)
    planes : (N, K) plane of the canvas that each map goes to
    cells : positions of the N cells on the whole field
    owner : as `nearest_cells` gives it
    part : of the whole field that the canvas is, unless it is all of it
    """
    crop_size = maps.shape[2:]
    starts = crop_windows(cells, crop_size)
    if part is not None:
        starts = starts - part.start
    for one, where, number, start in zip(maps, planes, cells.numbers, starts, strict=True):
        inside = tuple(
            slice(max(0, first), min(first + length, whole))
            for first, length, whole in zip(start, crop_size, owner.shape, strict=True)
        )
        taken = tuple(
            slice(s.start - first, s.stop - first) for s, first in zip(inside, start, strict=True)
        )
        own = owner[inside] == number
        for plane, values in zip(where, one, strict=True):
            canvas[(plane, *inside)][own] = values[taken][own]


def _padded(
    field: NDArray[Any], starts: NDArray[np.int64], crop_size: Sequence[int]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Field with a mirrored border wide enough for all crops, and the border's width before."""
    shape = np.asarray(field.shape[1:])
    if not len(starts):
        return field, np.zeros(len(shape), np.int64)
    before = np.maximum(0, -starts.min(axis=0))
    after = np.maximum(0, (starts + crop_size).max(axis=0) - shape)
    if not (before.any() or after.any()):
        return field, before
    border = [(0, 0), *zip(before, after, strict=True)]
    return np.pad(field, border, mode="symmetric"), before
