"""Watershed of a few parts of an image, by climbing.

A watershed floods the depth from its peaks downwards: a pixel belongs to the cell of that neighbour
which the water reached first. Water reaches pixels in the order of their level, the height at which
the flood arrives: their height, or, in a hollow without a peak, the height of its lowest way in.
So each pixel points to its neighbour of highest level, and its cell is found by following the
pointers, all pixels at once.

Neighbours of equal level are reached in the order in which scikit-image's queue takes them: in that
of the pixels they were reached from, and from one pixel in the order of its neighbours. The cells
equal those of scikit-image's ``watershed`` in every pixel. Only equal peaks of one part are another
matter: scikit-image's order of them depends on all other peaks of the image, so that a block of a
field could differ from the field. Here it is reading order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cmp_to_key

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.connected_parts import Index, Mask, Parts

Height = NDArray[np.float64]

# Pixels of a piece of the flooded parts.
_CHUNK = 2**16


def flooded(
    parts: Parts, chosen: Mask, depth: Height, peaks: Index, number: NDArray[np.int32]
) -> Parts:
    """Watershed of the depth from its peaks.

    Parameters
    ----------
    parts : int32 image, 0 outside; N parts count from 1
    chosen : (N + 1,) which of them are flooded
    depth : float64 of the same shape
    peaks, number : (P, ndim), (P,) where the chosen parts are flooded from, and what their cells
        are called

    Returns
    -------
    int32 image, 0 outside of the chosen parts
    """
    cells = np.zeros(parts.shape, np.int32)
    inside = chosen.take(parts)
    if not inside.any():
        return cells
    relief = _Relief.of(inside, depth, peaks, _heights_in_order(parts, depth, peaks))
    cell = np.zeros(relief.n_pixels, np.int32)
    cell[relief.peaks] = number
    cells[inside] = cell.take(_ends(_ways(relief)))
    return cells


@dataclass(frozen=True, eq=False)
class _Relief:
    """Pixels of the flooded parts, in reading order.

    Attributes
    ----------
    height : (n_pixels + 1,); the last stands for all pixels outside
    around : (2 ndim, n_pixels) neighbours of each pixel, in scikit-image's order
    peaks : (P,) pixels from which the flood comes
    """

    height: Height
    around: NDArray[np.int32]
    peaks: Index

    @classmethod
    def of(cls, inside: Mask, depth: Height, peaks: Index, peak_heights: Height) -> _Relief:
        padded = np.pad(inside, 1)
        places = np.flatnonzero(padded)
        count = len(places)
        pixel = np.full(padded.size, count, np.int32)
        pixel[places] = np.arange(count, dtype=np.int32)
        steps = np.array(padded.strides)
        steps = np.concatenate([-steps, steps[::-1]])
        around = np.empty((len(steps), count), np.int32)
        for chunk in _chunks(count):
            for step, beside in zip(steps, around[:, chunk], strict=True):
                pixel.take(places[chunk] + step, out=beside, mode="clip")  # all are inside
        sources = pixel[np.ravel_multi_index(tuple(peaks.T + 1), padded.shape)]
        height = np.full(count + 1, -np.inf)
        height[:-1] = depth[inside]
        height[sources] = peak_heights
        return cls(height, around, sources.astype(np.int64))

    @property
    def n_pixels(self) -> int:
        return len(self.height) - 1


def _ways(relief: _Relief) -> Index:
    """Neighbour (n_pixels,) that the flood reaches each pixel from; for peaks the peak."""
    way, is_tied, is_top = _ways_up(relief)
    is_top[relief.peaks] = False
    is_tied[relief.peaks] = False
    tops = np.flatnonzero(is_top)
    way[tops], way[relief.peaks] = tops, relief.peaks
    level = _levels(relief, tops, _ends(way))
    is_lower = level[:-1] < relief.height[:-1]
    changed = np.flatnonzero(is_lower | is_lower.take(way) | is_tied | is_top)
    highest, way[changed], is_tied[changed] = _highest_neighbours(relief, level, changed)
    flat = changed[highest == level[changed]]
    is_tied[flat] = False
    undecided = _into_hollows(relief, level, way, flat)
    _Queue(relief, level, way).decide(np.flatnonzero(is_tied), undecided)
    return way


def _ways_up(relief: _Relief) -> tuple[Index, Mask, Mask]:
    """Highest neighbour of each pixel, whether there is another, and whether none is higher."""
    count = relief.n_pixels
    way, is_tied, is_top = np.empty(count, np.int64), np.empty(count, bool), np.empty(count, bool)
    for chunk in _chunks(count):
        highest, way[chunk], is_tied[chunk] = _highest_neighbours(relief, relief.height, chunk)
        np.less_equal(highest, relief.height[chunk], out=is_top[chunk])
    return way, is_tied, is_top


def _highest_neighbours(
    relief: _Relief, level: Height, pixels: Index | slice
) -> tuple[Height, Index, Mask]:
    """Highest level beside Q pixels, the first neighbour there, and whether there is another."""
    first, *others = relief.around[:, pixels]
    highest, neighbour = level.take(first), first.astype(np.int64)
    is_tied = np.zeros(len(first), bool)
    for beside in others:
        found = level.take(beside)
        is_higher = found > highest
        is_tied &= ~is_higher
        is_tied |= found == highest
        np.maximum(highest, found, out=highest)
        np.copyto(neighbour, beside, where=is_higher)
    return highest, neighbour, is_tied


def _ends(way: Index) -> Index:
    """Where the pointers (n_pixels,) lead in the end."""
    ends = way.copy()
    moves = True
    while moves:
        moves = False
        for chunk in _chunks(len(ends)):
            farther = ends.take(ends[chunk])
            if not np.array_equal(farther, ends[chunk]):
                ends[chunk], moves = farther, True
    return ends


def _chunks(count: int) -> list[slice]:
    """So many pixels in pieces whose arrays stay in a processor core's cache."""
    starts = range(0, count, _CHUNK)
    return [slice(start, min(start + _CHUNK, count)) for start in starts]


def _levels(relief: _Relief, tops: Index, ends: Index) -> Height:
    """Height at which the flood reaches each pixel: (n_pixels + 1,).

    Parameters
    ----------
    tops : (T,) pixels that no neighbour exceeds, but without a peak
    ends : the top or peak that each pixel climbs to
    """
    level = relief.height.copy()
    if not len(tops):
        return level
    node = np.zeros(relief.n_pixels + 1, np.int32)  # 0: all that climbs to a peak
    node[tops] = np.arange(1, len(tops) + 1)
    node[:-1] = node.take(ends)
    hollow = np.flatnonzero(node)
    here, height = node.take(hollow), level.take(hollow)
    ones, others, passes = [], [], []
    for around in relief.around:
        beside = around.take(hollow)
        there = node.take(beside)
        is_pass = np.flatnonzero(there != here)
        ones.append(there[is_pass])
        others.append(here[is_pass])
        passes.append(np.minimum(level[beside[is_pass]], height[is_pass]))
    flood = _highest_way_in(len(tops) + 1, *map(np.concatenate, (ones, others, passes)))
    level[hollow] = np.minimum(height, flood.take(here))
    return level


def _highest_way_in(count: int, ones: Index, others: Index, passes: Height) -> Height:
    """Level (count,) of a flood that comes from node 0 over passes (E,) from ones to others."""
    level = np.full(count, -np.inf)
    level[0] = np.inf
    while True:
        reached = level.copy()
        np.maximum.at(reached, others, np.minimum(level[ones], passes))
        if np.array_equal(reached, level):
            return level
        level = reached


def _into_hollows(relief: _Relief, level: Height, way: Index, flat: Index) -> Index:
    """Point pixels (Q,) that no neighbour exceeds to the way into their hollow.

    Returns those of hollows of one level with several ways in.
    """
    if not len(flat):
        return flat
    is_flat = np.zeros(relief.n_pixels + 1, bool)
    is_flat[flat] = True
    _, hollow = np.unique(level[flat], return_inverse=True)
    first = np.full(hollow.max() + 1, relief.n_pixels)
    last = np.full(hollow.max() + 1, -1)
    for around in relief.around:
        beside = around[flat]
        is_way_in = (level[beside] == level[flat]) & ~is_flat[beside]
        np.minimum.at(first, hollow[is_way_in], beside[is_way_in])
        np.maximum.at(last, hollow[is_way_in], beside[is_way_in])
    has_one = (first == last)[hollow]
    way[flat[has_one]] = first[hollow[has_one]]
    return flat[~has_one]


class _Queue:
    """Order in which scikit-image's queue takes pixels of equal level."""

    def __init__(self, relief: _Relief, level: Height, way: Index) -> None:
        # Single values of a memoryview are read several times faster than those of an array.
        self.level, self.way = level.data, way.data
        self.around = [around.data for around in relief.around]

    def decide(self, tied: Index, flat: Index) -> None:
        """Set the way of pixels with several highest neighbours, and of flat hollows."""
        hollows: dict[float, set[int]] = {}
        for pixel in flat.tolist():
            hollows.setdefault(self.level[pixel], set()).add(pixel)
        turns = [(-self.level[pixel], False, pixel) for pixel in tied.tolist()]
        turns += [(-level, True, 0) for level in hollows]
        for depth, is_hollow, pixel in sorted(turns):
            if is_hollow:
                self._fill(hollows[-depth])
            else:
                self.way[pixel] = self._first(self._highest_beside(pixel))

    def _beside(self, pixel: int) -> list[int]:
        return [around[pixel] for around in self.around]

    def _highest_beside(self, pixel: int) -> list[int]:
        beside = self._beside(pixel)
        highest = max(self.level[n] for n in beside)
        return [n for n in beside if self.level[n] == highest]

    def _first(self, pixels: list[int]) -> int:
        return min(pixels, key=cmp_to_key(self._order))

    def _order(self, one: int, other: int) -> int:
        """-1 if the flood reaches one pixel before the other, else 1."""
        level, way = self.level, self.way
        while level[one] == level[other]:
            if way[one] == one:
                return -1
            if way[other] == other:
                return 1
            if way[one] == way[other]:
                return -1 if self._direction(one) < self._direction(other) else 1
            one, other = way[one], way[other]
        return -1 if level[one] > level[other] else 1

    def _direction(self, pixel: int) -> int:
        """Place of a pixel among the neighbours of the pixel that it was reached from."""
        beside = self._beside(self.way[pixel])
        return beside.index(pixel) if pixel in beside else len(beside)

    def _fill(self, hollow: set[int]) -> None:
        """Set the way of flat pixels: those nearest to the ways in are reached first."""
        ways_in = {
            beside
            for pixel in hollow
            for beside in self._beside(pixel)
            if self.level[beside] == self.level[pixel]
        } - hollow
        queue = deque(sorted(ways_in, key=cmp_to_key(self._order)))
        while queue:
            pixel = queue.popleft()
            for beside in self._beside(pixel):
                if beside in hollow:
                    self.way[beside] = pixel
                    hollow.remove(beside)
                    queue.append(beside)


def _heights_in_order(
    parts: Parts, depth: NDArray[np.float64], peaks: Index
) -> NDArray[np.float64]:
    """Heights (P,) of peaks; of equal ones in a part each is a rounding step above the next."""
    part, height = parts[tuple(peaks.T)], depth[tuple(peaks.T)]
    place = np.ravel_multi_index(tuple(peaks.T), parts.shape)
    order = np.lexsort((-place, height, part))
    part, sorted_height = part[order], height[order]
    equals_last = (part[1:] == part[:-1]) & (sorted_height[1:] == sorted_height[:-1])
    index = np.arange(len(order))
    first = np.where(np.concatenate([[False], equals_last]), 0, index)
    steps = index - np.maximum.accumulate(first)
    height[order] += steps * np.spacing(sorted_height)
    return height
