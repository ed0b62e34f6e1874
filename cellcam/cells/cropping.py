"""Crops around cells in; importance maps pasted back onto the field out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import Labels
from cellcam.cells.numbering import compacted
from cellcam.errors import InputError
from cellcam.stacks.blocks import Part
from cellcam.stacks.memory import check_fits
from cellcam.stacks.stack import Stack

# Between objectives of 2.5x and 100x lies a factor of 40: cells of one cannot be judged by a model
# of the other.
_LARGEST_SCALING = 20.0


@dataclass(frozen=True)
class CellPositions:
    """Labels and centroids of the cells of a label image.

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
        """Positions of all cells of a label image, or of a part of it.

        Sums of whole numbers are exact, so every part that holds a whole cell gives it the same
        centroid.

        Parameters
        ----------
        labels : the label image, or its part
        part : the rectangle of the field that ``labels`` covers; by default all of it
        """
        part = part or Part.all_of(labels.shape)
        numbers, compact = compacted(labels)
        places_of_pixels = compact.ravel()
        areas = np.bincount(places_of_pixels, minlength=len(numbers) + 1)[1:]
        sums = np.empty((len(numbers), labels.ndim))
        for axis, first in enumerate(part.start):
            places = np.arange(first, first + labels.shape[axis], dtype=np.float64)
            places = places.reshape(-1, *[1] * (labels.ndim - axis - 1))
            weights = np.broadcast_to(places, labels.shape).ravel()
            sums[:, axis] = np.bincount(places_of_pixels, weights, len(numbers) + 1)[1:]
        centres = sums / areas[:, None]
        return cls(numbers.astype(np.int32), centres, part.whole)

    def at_scale(self, shape: tuple[int, ...]) -> CellPositions:
        """Same cells on the field resized to ``shape``; pixel i covers [i - 1/2, i + 1/2]."""
        factor = np.array(shape) / np.array(self.shape)
        return CellPositions(self.numbers, (self.centres + 0.5) * factor - 0.5, shape)

    def __getitem__(self, part: slice | NDArray[np.bool_]) -> CellPositions:
        return CellPositions(self.numbers[part], self.centres[part], self.shape)

    def __len__(self) -> int:
        return len(self.numbers)


def shape_at_pixel_size(
    stack: Stack, shape: Sequence[int], pixel_size_um: Sequence[float] | None
) -> tuple[int, ...]:
    """Shape of a field after resampling to another pixel size.

    Parameters
    ----------
    stack : gives the field's pixel size
    shape : of the field, (Y, X) or (Z, Y, X)
    pixel_size_um : target, one number for each axis; None leaves the field as it is

    Raises
    ------
    InputError
        If there is a target and the stack's pixel size is unknown, or so far from the target that
        one of them must be wrong.
    """
    if pixel_size_um is None:
        return tuple(shape)
    scaled = []
    stated = stack.pixel_size_um[-len(shape) :]
    for length, pixel, target in zip(shape, stated, pixel_size_um, strict=True):
        if pixel is None:
            raise InputError(
                f"The model sees pixels of {target:g} um, but the pixel size of {stack.name} is "
                "unknown. Give it with pixel_size_um=... (--pixel-size). " + " ".join(stack.notes)
            )
        if not 1 / _LARGEST_SCALING <= pixel / target <= _LARGEST_SCALING:
            raise InputError(
                f"{stack.name} has pixels of {pixel:.4g} um, the model sees pixels of {target:g} "
                f"um: the image would be {_times(pixel / target)}. One of the two is wrong, or the "
                "magnification does not suit the model. If it is the image's, give it with "
                "pixel_size_um=... (--pixel-size)."
            )
        # Sizes within 1 % count as equal: resampling would only blur.
        factor = pixel / target if abs(pixel / target - 1) > 0.01 else 1.0
        scaled.append(max(1, round(length * factor)))
    return tuple(scaled)


def _times(factor: float) -> str:
    """A change of size in words."""
    return f"enlarged {factor:.3g} times" if factor > 1 else f"reduced {1 / factor:.3g} times"


def resized(
    field: NDArray[Any],
    shape: Sequence[int],
    *,
    labels: bool = False,
    own: Part | None = None,
    wanted: Part | None = None,
) -> NDArray[Any]:
    """Resample a field or a label image, or a part of it.

    Linear interpolation between pixel centres, mirrored at the field's edge. Where pixels get
    larger by a factor f, a Gaussian of standard deviation (f - 1) / 2 pixels is applied first. A
    part gets the same values as in the whole field.

    Parameters
    ----------
    field : (..., *spatial) array; leading axes are kept
    shape : spatial shape of the whole resampled field
    labels : take the nearest pixel instead of interpolating
    own : part of the field that ``field`` covers; by default all of it
    wanted : part of the resampled field to return; by default all of it

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
    check_fits(
        field.size // prod(own.shape) * prod(wanted.shape) * field.itemsize,
        f"A field resampled to {' x '.join(map(str, wanted.shape))} pixels",
        "Check the pixel size (--pixel-size), or use cellcam batch, which works in blocks.",
    )
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
    """Coordinates outside an axis, mirrored at the centres of its first and last pixel."""
    inside = np.abs(places)
    return np.where(inside > length - 1, 2 * (length - 1) - inside, inside)


def _interpolated(
    field: NDArray[Any], places: NDArray[np.float64], axis: int, nearest: bool
) -> NDArray[Any]:
    """Values at fractional coordinates along one axis."""
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
    """Whether each crop reaches over the edge of the field: (N,)."""
    starts = crop_windows(cells, crop_size)
    outside = (starts < 0) | (starts + crop_size > np.asarray(cells.shape))
    return np.any(outside, axis=1)


def nearest_cells(labels: Labels, crop_size: Sequence[int]) -> Labels:
    """Label image in which each pixel within a crop size of a cell gets the nearest cell."""
    from skimage.segmentation import expand_labels

    return expand_labels(labels, distance=max(crop_size)).astype(np.int32)


def paste_maps(
    canvas: NDArray[np.float32],
    maps: NDArray[np.float32],
    planes: NDArray[np.integer],
    cells: CellPositions,
    owner: Labels,
    part: Part | None = None,
) -> None:
    """Paste the maps of single cells onto the field.

    A pixel inside a cell shows the map of that cell, a background pixel that of the nearest cell,
    as far as its crop reaches. So no pixel is counted twice where crops overlap.

    Parameters
    ----------
    canvas : (P, *spatial), changed in place
    maps : (N, K, *crop_size)
    planes : (N, K) plane of the canvas that each map goes to
    cells : positions of the N cells on the whole field
    owner : see `nearest_cells`
    part : of the whole field that the canvas is, unless it is all of it
    """
    crop_size = maps.shape[2:]
    starts = crop_windows(cells, crop_size)
    if part is not None:
        starts = starts - part.start
    for cell_maps, cell_planes, number, start in zip(
        maps, planes, cells.numbers, starts, strict=True
    ):
        inside = tuple(
            slice(max(0, first), min(first + length, whole))
            for first, length, whole in zip(start, crop_size, owner.shape, strict=True)
        )
        taken = tuple(
            slice(s.start - first, s.stop - first) for s, first in zip(inside, start, strict=True)
        )
        region = owner[inside] == number
        for plane, values in zip(cell_planes, cell_maps, strict=True):
            canvas[(plane, *inside)][region] = values[taken][region]


def _padded(
    field: NDArray[Any], starts: NDArray[np.int64], crop_size: Sequence[int]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Field with a mirrored border wide enough for all crops; width of the border at the start."""
    shape = np.asarray(field.shape[1:])
    if not len(starts):
        return field, np.zeros(len(shape), np.int64)
    before = np.maximum(0, -starts.min(axis=0))
    after = np.maximum(0, (starts + crop_size).max(axis=0) - shape)
    if not (before.any() or after.any()):
        return field, before
    border = [(0, 0), *zip(before, after, strict=True)]
    return np.pad(field, border, mode="symmetric"), before
