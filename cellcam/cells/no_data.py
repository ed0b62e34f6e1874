"""Pixels without data: NaN, infinity, and the fill that mosaics and registration leave.

Fill is one exact value, the same in every pixel, beside pixels that go on without it. A black
background is not fill: intensity fades into it, or single cells lie on it. What is fill is
measured once on the whole field (`measure_fill`); which pixels it covers follows from their
surroundings alone (`missing_pixels`), so that a block gets the same pixels as the whole field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.generic]
Mask = NDArray[np.bool_]

# Edge of the squares that fill is made of; smaller patches of one value occur in images.
_SQUARE = 9
# Interpolation mixes fill into the pixels beside it, as far as this.
_RIM = 2
# Pixels on which a pixel of the mask depends.
REACH = _SQUARE + _RIM
_MOST_VALUES, _CANDIDATE_PIXELS = 4, 50_000
# Each so many pixels with data are enough for their median.
_EACH = 5
# Smaller parts of the samples are not looked at.
_SMALLEST_PART = 5e-4
# Pixels beside fill differ from it by at least this part of what the image does in the median.
# Intensity that fades into a clipped background starts close to it.
_JUMP = 0.2
# Part of the pixels with data that lies in squares as large as a crop. Single cells on a masked
# background hold no such square.
_WIDE = 0.85
# Part of the fill that touches the edge of the field, at least as long as a crop, or is a rectangle
# such as a missing tile.
# Saturated patches inside of cells do neither.
_IN_PLACE = 0.9
# Part of the pixels with data that may lie in patches of one value. Beyond that an image is drawn,
# not recorded, and must be a rectangle of at least so much of the field to have a border of fill.
_FLAT, _RECTANGLE = 0.5, 0.4


@dataclass(frozen=True)
class FieldSample:
    """Pixels of a field, or of a square of it, from which fill is measured.

    Attributes
    ----------
    pixels : (C, Y, X), or (C, Z, Y, X)
    at_edge : whether it begins and ends at the edge of the field: top, bottom, left, right
    """

    pixels: Pixels
    at_edge: tuple[bool, bool, bool, bool] = (True, True, True, True)


@dataclass(frozen=True)
class Fill:
    """Values that stand for "no data" in a field.

    Attributes
    ----------
    channels : names of the C channels that were looked at; a pixel is fill in all of them at once
    values : for each kind of fill its exact value in each channel
    gaps : the same shape: pixels beside the fill that differ less are interpolated
    part : part of the field that has no data, NaN and infinity included, as far as it was seen
    """

    channels: tuple[str, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    gaps: tuple[tuple[float, ...], ...] = ()
    part: float = 0.0


NOTHING_KNOWN = Fill()


def missing_pixels(pixels: Pixels, fill: Fill) -> Mask | None:
    """Which pixels have no data: (*spatial) bool; None if all have.

    Parameters
    ----------
    pixels : (C, *spatial), the channels of ``fill`` in its order
    """
    missing = np.zeros(pixels.shape[1:], bool)
    if pixels.dtype.kind == "f":
        missing |= ~np.isfinite(pixels).all(0)
    for values, gaps in zip(fill.values, fill.gaps, strict=True):
        covered = _opened(_equal(pixels, values), _SQUARE)
        if covered.any():
            mixed = _grown(covered, _RIM) & ~covered & _closer(pixels, values, gaps)
            missing |= covered | mixed
    return missing if missing.any() else None


def measure_fill(
    samples: Sequence[FieldSample], channels: Sequence[str], crop: int, *, whole: bool = True
) -> Fill:
    """Recognise the fill of a field.

    Parameters
    ----------
    samples : the whole field, or squares of it
    crop : pixels along y and x of what is seen of a cell; data that holds no such square is no
        field but single cells on a masked background
    whole : whether the samples are all of the field; if not, a fill of 0 that none of them shows
        is expected where all pixels lie far from it
    """
    found: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    large = min(min(sample.pixels.shape[-2:]) for sample in samples) >= 2 * crop
    if large:
        for values in _candidates(samples, whole):
            gaps = _gaps_if_fill(samples, values, [known for known, _ in found], crop, whole)
            if gaps is not None:
                found.append((values, gaps))
    fill = Fill(tuple(channels), tuple(v for v, _ in found), tuple(g for _, g in found))
    masks = [(missing_pixels(sample.pixels, fill), sample.pixels[0].size) for sample in samples]
    lost = sum(int(mask.sum()) for mask, _ in masks if mask is not None)
    part = lost / sum(size for _, size in masks)
    return Fill(fill.channels, fill.values, fill.gaps, round(part, 4))


def _candidates(samples: Sequence[FieldSample], whole: bool) -> list[tuple[float, ...]]:
    """Values of pixels that equal their neighbours in all channels, the most frequent first."""
    seen = []
    for sample in samples:
        pixels = sample.pixels.reshape(len(sample.pixels), -1, *sample.pixels.shape[-2:])
        for axis in (-1, -2):
            runs = _runs(pixels, axis)
            places = np.flatnonzero(runs)
            step = max(1, len(places) // _CANDIDATE_PIXELS)
            index = np.unravel_index(places[::step], runs.shape)
            chosen = np.stack([channel[index] for channel in pixels], 1).astype(np.float64)
            weights = np.full(len(chosen), step)
            seen.append((chosen, weights))
    values = np.concatenate([chosen for chosen, _ in seen])
    weights = np.concatenate([weight for _, weight in seen])
    is_finite = np.isfinite(values).all(1)  # infinity has no data anyway
    values, weights = values[is_finite], weights[is_finite]
    size = sum(sample.pixels[0].size for sample in samples)
    zero = (0.0,) * len(samples[0].pixels)
    extra = [] if whole else [zero]
    if not len(values):
        return extra
    kinds, counts = _kinds(values, weights)
    order = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
    frequent = [tuple(kinds[i].tolist()) for i in order if counts[i] >= _SMALLEST_PART * size]
    return list(dict.fromkeys([*frequent, *extra]))


def _kinds(
    values: NDArray[np.float64], weights: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Different rows (K, C) of values (P, C), ascending, and the sum of the weights of each.

    As ``numpy.unique`` along an axis, which compares rows as bytes and takes ten times as long.
    """
    order = np.lexsort(values.T[::-1])
    values = values[order]
    is_first = np.ones(len(values), bool)
    is_first[1:] = (values[1:] != values[:-1]).any(1)
    first = np.flatnonzero(is_first)
    return values[first], np.add.reduceat(weights[order], first)


def _runs(pixels: Pixels, axis: int) -> Mask:
    """Pixels that equal the next 8 along an axis, in all channels."""
    length = min(_SQUARE, pixels.shape[axis])
    if length == 1:
        return np.ones(pixels.shape[1:], bool)
    return _windows(np.logical_and, _same_as_next(pixels, axis), length - 1, axis)


def _windows(joined: np.ufunc, mask: Mask, length: int, axis: int) -> Mask:
    """All (``logical_and``) or any (``logical_or``) of the windows of so many pixels along an axis.

    Windows of twice the length are joined from two until they are long enough.
    """
    windows = mask.swapaxes(axis, -1)
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        windows = joined(windows[..., :-step], windows[..., step:])
        covered += step
    return windows.swapaxes(axis, -1)


def _same_as_next(pixels: Pixels, axis: int) -> Mask:
    """Whether each pixel but the last of an axis (-1 or -2) equals the next in all channels."""
    moved = pixels.swapaxes(axis, -1)
    same: Mask = (moved[..., :-1] == moved[..., 1:]).all(0)
    return same.swapaxes(axis, -1)


def _gaps_if_fill(
    samples: Sequence[FieldSample],
    values: tuple[float, ...],
    other_fill: Sequence[tuple[float, ...]],
    crop: int,
    whole: bool,
) -> tuple[float, ...] | None:
    """How far the data stay away from a value in each channel; None if it is no fill."""
    n_channels = len(values)
    inside: list[list[NDArray[np.float64]]] = [[] for _ in range(n_channels)]
    beside: list[list[NDArray[np.float64]]] = [[] for _ in range(n_channels)]
    n_data = n_wide = n_flat = n_fill = n_placed = n_known = 0
    is_rectangle = True
    for sample in samples:
        covered = _opened(_equal(sample.pixels, values), _SQUARE)
        filled = covered.copy()
        for known_fill in other_fill:
            filled |= _opened(_equal(sample.pixels, known_fill), _SQUARE)
        data = ~filled
        if covered.any():
            placed, known = _in_place(covered, sample.at_edge, crop)
            n_fill, n_placed, n_known = n_fill + covered.sum(), n_placed + placed, n_known + known
        n_data += int(data.sum())
        n_wide += int((_opened(data, crop) & data).sum())
        n_flat += int((_flat_patches(sample.pixels) & data).sum())
        is_rectangle &= _is_rectangle(data, sample.pixels)
        far = ~_grown(filled, _RIM)
        next_to = _grown(covered, 1) & data
        for channel, value in enumerate(values):
            pixels = sample.pixels[channel]
            inside[channel].append(np.abs(_finite(pixels[far][::_EACH]) - value))
            beside[channel].append(np.abs(_finite(pixels[next_to]) - value))
    if not n_data or n_wide < _WIDE * n_data:
        return None
    if n_flat > _FLAT * n_data and not is_rectangle:
        return None
    if n_placed < _IN_PLACE * n_known or (n_fill and not n_known):
        return None
    usual = [np.concatenate(one) for one in inside]
    rim = [np.concatenate(one) for one in beside]
    if n_fill:
        jumps = [_jumps(near, far) for near, far in zip(rim, usual, strict=True)]
    else:
        jumps = [not whole and _stays_away(far) for far in usual]
    if not any(jumps):
        return None
    return tuple(float(np.quantile(far, 0.01)) if len(far) else 0.0 for far in usual)


def _jumps(beside: NDArray[np.float64], data: NDArray[np.float64]) -> bool:
    """Whether pixels beside the fill differ from it as pixels of the image do."""
    if not len(beside) or not len(data):
        return False
    return bool(np.median(beside) >= _JUMP * np.median(data) > 0)


def _stays_away(data: NDArray[np.float64]) -> bool:
    return bool(len(data) and data.min() >= _JUMP * np.median(data) > 0)


def _is_rectangle(data: Mask, pixels: Pixels) -> bool:
    """Whether data of several values fill a box, and much of the image."""
    places = np.argwhere(data)
    if len(places) < _RECTANGLE * data.size:
        return False
    box = tuple(slice(a, b + 1) for a, b in zip(places.min(0), places.max(0), strict=True))
    inside = pixels[(slice(None), *box)]
    return bool(data[box].mean() > 0.98 and inside.min() < inside.max())


def _in_place(covered: Mask, at_edge: tuple[bool, bool, bool, bool], crop: int) -> tuple[int, int]:
    """Pixels of fill that lie where fill lies, and pixels of which this can be said."""
    from scipy import ndimage

    placed = known = 0
    for plane in covered.reshape(-1, *covered.shape[-2:]):
        parts, count = ndimage.label(plane)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            touches = (
                box[0].start == 0,
                box[0].stop == plane.shape[0],
                box[1].start == 0,
                box[1].stop == plane.shape[1],
            )
            height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
            size = int(sizes[number])
            at_field = any(a and b for a, b in zip(touches, at_edge, strict=True))
            at_field = at_field and max(height, width) >= crop
            is_tile = size >= 0.95 * height * width and min(height, width) >= crop
            if at_field or is_tile:
                placed, known = placed + size, known + size
            elif not any(touches) or max(height, width) < crop:
                known += size
    return placed, known


def _equal(pixels: Pixels, values: Sequence[float]) -> Mask:
    equal = np.ones(pixels.shape[1:], bool)
    for channel, value in zip(pixels, values, strict=True):
        equal &= channel == channel.dtype.type(value)
    return equal


def _closer(pixels: Pixels, values: Sequence[float], gaps: Sequence[float]) -> Mask:
    """Pixels that lie closer to a fill than data do, in at least one channel."""
    closer = np.zeros(pixels.shape[1:], bool)
    for channel, value, gap in zip(pixels, values, gaps, strict=True):
        closer |= np.abs(channel.astype(np.float32) - np.float32(value)) < gap
    return closer


def _finite(pixels: Pixels) -> NDArray[np.float64]:
    values = pixels.astype(np.float64)
    return values[np.isfinite(values)]


def _flat_patches(pixels: Pixels) -> Mask:
    """Pixels that equal all their neighbours along y and x, in all channels."""
    flat = np.ones(pixels.shape[1:], bool)
    for axis in (-2, -1):
        same = _same_as_next(pixels, axis)
        ahead = [(0, 0)] * flat.ndim
        behind = [(0, 0)] * flat.ndim
        ahead[axis], behind[axis] = (0, 1), (1, 0)
        flat &= np.pad(same, ahead, constant_values=True)
        flat &= np.pad(same, behind, constant_values=True)
    return flat


def _opened(mask: Mask, edge: int) -> Mask:
    """Pixels of a mask that a square inside of it covers; the mask goes on beyond the image."""
    if mask.all() or not mask.any():
        return mask
    opened = _padded(mask, edge - 1, value=True)
    for axis in (-2, -1):
        opened = _windows(np.logical_and, opened, edge, axis)
    for axis in (-2, -1):
        opened = _windows(np.logical_or, opened, edge, axis)
    return opened


def _grown(mask: Mask, by: int) -> Mask:
    if not mask.any():
        return mask
    grown = _padded(mask, by, value=False)
    for axis in (-2, -1):
        grown = _windows(np.logical_or, grown, 2 * by + 1, axis)
    return grown


def _padded(mask: Mask, by: int, *, value: bool) -> Mask:
    """The mask with a border along y and x."""
    border = [(0, 0)] * (mask.ndim - 2) + [(by, by)] * 2
    return np.pad(mask, border, constant_values=value)
