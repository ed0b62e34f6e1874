"""Connected parts of a mask, from its runs of pixels along the last axis.

A field of a million pixels has some ten thousand runs, and only they are joined. The results are
those of `scipy.ndimage.label` and of scikit-image's ``remove_small_holes`` and
``remove_small_objects`` with neighbours that share an edge (2-D) or a face (3-D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Parts = NDArray[np.int32]
Index = NDArray[np.int64]
_Value = TypeVar("_Value", bound=np.generic)


def without_small_holes(mask: Mask, max_size: int) -> Mask:
    """The mask with connected background of at most ``max_size`` pixels filled."""
    if mask.all():
        return mask
    runs = _Runs.of(~mask)
    part, count = runs.joined()
    is_small = runs.sizes(part, count) <= max_size
    chosen = is_small[part]
    if not chosen.any():
        return mask
    return mask | runs.painted(chosen)


def sizes_without_holes(mask: Mask) -> Index:
    """Pixels of each connected part (N,), all holes in it included."""
    background = _Runs.of(~mask)
    part, count = background.joined()
    is_hole = np.ones(count, bool)
    is_hole[part[background.at_border()]] = False
    filled = mask | background.painted(is_hole[part])
    runs = _Runs.of(filled)
    return runs.sizes(*runs.joined())


def parts_larger_than(mask: Mask, max_size: int) -> tuple[Parts, Index]:
    """Connected parts of more than ``max_size`` pixels.

    Returns
    -------
    parts : int32 image, 0 outside; parts count from 1
    sizes : (N,) their numbers of pixels
    """
    runs = _Runs.of(mask)
    part, count = runs.joined()
    sizes = runs.sizes(part, count)
    is_large = sizes > max_size
    number = np.where(is_large, np.cumsum(is_large), 0)
    return runs.painted(number[part].astype(np.int32)), sizes[is_large]


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of R neighbouring pixels of a mask along its last axis, in reading order.

    Attributes
    ----------
    shape : of the mask
    starts, stops : (R,) first pixel, and the pixel after the last, in an image whose lines are
        one pixel longer, so that no run goes on in the next line
    """

    shape: tuple[int, ...]
    starts: Index
    stops: Index

    @classmethod
    def of(cls, mask: Mask) -> _Runs:
        *lines, length = mask.shape
        padded = np.zeros((*lines, length + 1), bool)
        padded[..., :length] = mask
        flat = padded.ravel()
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat[0]:
            edges = np.concatenate([[0], edges])
        return cls(mask.shape, edges[::2], edges[1::2])

    def joined(self) -> tuple[NDArray[np.int32], int]:
        """Part (R,) of each run, counted from 0, and the number of parts."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = [self._neighbours(axis) for axis in range(len(self.shape) - 1)]
        one = np.concatenate([np.empty(0, np.int64), *(first for first, _ in pairs)])
        other = np.concatenate([np.empty(0, np.int64), *(second for _, second in pairs)])
        n_runs = len(self.starts)
        if not n_runs:
            return np.empty(0, np.int32), 0
        graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(n_runs, n_runs))
        count, part = connected_components(graph, directed=False)
        return part, count

    def _neighbours(self, axis: int) -> tuple[Index, Index]:
        """Pairs of runs that share a face across an axis other than the last."""
        lines_apart = int(np.prod(self.shape[axis + 1 : -1], dtype=np.int64))
        line = self.starts // (self.shape[-1] + 1)
        has_next = (line // lines_apart) % self.shape[axis] < self.shape[axis] - 1
        run = np.flatnonzero(has_next)
        offset = lines_apart * (self.shape[-1] + 1)
        first = np.searchsorted(self.stops, self.starts[run] + offset, side="right")
        last = np.searchsorted(self.starts, self.stops[run] + offset, side="left")
        counts = last - first
        return np.repeat(run, counts), _counted_from(first, counts)

    def at_border(self) -> Mask:
        """Whether each run (R,) touches the border of the image."""
        line, start = np.divmod(self.starts, self.shape[-1] + 1)
        touches: Mask = (start == 0) | (self.stops % (self.shape[-1] + 1) == self.shape[-1])
        for length, place in zip(self.shape, np.unravel_index(line, self.shape[:-1]), strict=False):
            touches |= (place == 0) | (place == length - 1)
        return touches

    def sizes(self, part: NDArray[np.int32], count: int) -> Index:
        """Pixels (count,) of each part."""
        sizes = np.bincount(part, self.stops - self.starts, minlength=count)
        return sizes.astype(np.int64)

    def painted(self, values: NDArray[_Value]) -> NDArray[_Value]:
        """Image of the mask's shape with a value (R,) in each run and 0 elsewhere."""
        *lines, length = self.shape
        total = int(np.prod(lines, dtype=np.int64)) * (length + 1)
        edges = np.empty(2 * len(self.starts) + 2, np.int64)
        edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = 0, self.starts, self.stops, total
        levels = np.zeros(2 * len(self.starts) + 1, values.dtype)
        levels[1::2] = values
        image = np.repeat(levels, np.diff(edges)).reshape(*lines, length + 1)
        return np.ascontiguousarray(image[..., :length])


def _counted_from(first: Index, counts: Index) -> Index:
    """``first[i], first[i] + 1, ...``, ``counts[i]`` of them, for all i."""
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    return np.repeat(first, counts) + within
