"""Connected pieces of the cells of a label image: is one number one cell?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import Labels
from cellcam.cells.numbering import compacted

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pieces:
    """Connected pieces, diagonal neighbours included, of the cells of a label image.

    Attributes
    ----------
    number : (P,) label of each piece
    start, stop : (P, n_axes) corners of its box, half-open
    area : (P,) pixels
    """

    number: Counts
    start: Counts
    stop: Counts
    area: Counts

    def distant(self) -> Counts:
        """Labels that lie on several distant pieces, ascending.

        A piece is distant if the gap between its box and that of the cell's largest piece is
        wider than the longest side of the latter. So two halves of a dividing nucleus are one
        cell, and crumbs beside a cell are part of it.
        """
        several = np.flatnonzero(np.bincount(np.unique(self.number, return_inverse=True)[1]) > 1)
        candidates = np.unique(self.number)[several]
        order = np.lexsort((-self.area, self.number))
        numbers = self.number[order]
        first = np.searchsorted(numbers, candidates)
        last = np.searchsorted(numbers, candidates, "right")
        found = [
            number
            for number, a, b in zip(candidates, first, last, strict=True)
            if self._is_spread(order[a:b])
        ]
        return np.array(found, np.int64)

    def largest_extent(self, without: Counts) -> int:
        """Pixels along y or x of the largest cell; labels of ``without`` do not count."""
        kept = ~np.isin(self.number, without)
        if not kept.any():
            return 0
        _, which = np.unique(self.number[kept], return_inverse=True)
        shape = (int(which.max()) + 1, self.start.shape[1])
        first, last = np.full(shape, 2**60), np.full(shape, -1)
        np.minimum.at(first, which, self.start[kept])
        np.maximum.at(last, which, self.stop[kept])
        return int((last - first)[:, -2:].max())

    def _is_spread(self, pieces: Counts) -> bool:
        """Whether one of these pieces of a label, the largest first, is distant."""
        main, others = pieces[0], pieces[1:]
        longest = (self.stop[main] - self.start[main]).max()
        gaps = np.maximum(
            self.start[others] - self.stop[main], self.start[main] - self.stop[others]
        )
        return bool((gaps.max(axis=1) > longest).any())


def pieces_of(bands: Iterator[Labels]) -> Pieces:
    """Pieces of a label image that is read in bands of rows, from the first to the last.

    Parameters
    ----------
    bands : label images (Y, X) or (Z, Y, X), which follow each other along y
    """
    found: list[Pieces] = []
    pairs: list[Counts] = []
    n_pieces = top = 0
    above: tuple[Labels, Counts] | None = None
    for labels in bands:
        pieces, parts = _pieces(labels, top)
        parts = np.where(parts > 0, parts + n_pieces, 0)
        if above is not None:
            pairs.append(_touching(*above, labels[..., 0, :], parts[..., 0, :]))
        above = labels[..., -1, :], parts[..., -1, :]
        found.append(pieces)
        n_pieces += len(pieces.number)
        top += labels.shape[-2]
    return _joined(found, np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64))


def _pieces(labels: Labels, top: int) -> tuple[Pieces, Counts]:
    """Pieces of a band whose first row is ``top``, and the image of their numbers from 1."""
    from scipy import ndimage
    from skimage.measure import label

    compact = compacted(labels)[1]
    parts = label(compact, connectivity=labels.ndim).astype(np.int64)
    boxes = [box for box in ndimage.find_objects(parts) if box is not None]
    corners = np.array([[(s.start, s.stop) for s in box] for box in boxes], np.int64)
    corners = corners.reshape(-1, labels.ndim, 2)
    corners[:, -2] += top
    area = np.bincount(parts.ravel(), minlength=len(boxes) + 1)[1:]
    number = np.zeros(len(boxes) + 1, np.int64)
    number[parts.ravel()] = labels.ravel()
    return Pieces(number[1:], corners[..., 0], corners[..., 1], area), parts


def _touching(above: Labels, parts_above: Counts, below: Labels, parts_below: Counts) -> Counts:
    """Pairs (P, 2) of pieces of one label that touch across the border of two bands."""
    pairs = []
    for shift in product((-1, 0, 1), repeat=above.ndim):
        first = _moved(shift, above.shape)
        second = _moved([-step for step in shift], above.shape)
        same = (above[first] == below[second]) & (above[first] > 0)
        pairs.append(np.stack([parts_above[first][same], parts_below[second][same]], 1))
    return np.unique(np.concatenate(pairs), axis=0)


def _moved(shift: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """The part of an array that stays in it when the array is moved."""
    pairs = zip(shift, shape, strict=True)
    return tuple(slice(max(0, step), n + min(0, step)) for step, n in pairs)


def _joined(found: list[Pieces], pairs: Counts) -> Pieces:
    """Pieces of all bands, with those that touch (pairs of numbers from 1) as one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number, start, stop, area = (
        np.concatenate([getattr(pieces, name) for pieces in found])
        for name in ("number", "start", "stop", "area")
    )
    if not len(pairs):
        return Pieces(number, start, stop, area)
    links = coo_array((np.ones(len(pairs)), (pairs - 1).T), shape=(len(number),) * 2)
    count, which = connected_components(links, directed=False)
    numbers, areas = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first, last = np.full((count, start.shape[1]), 2**60), np.full((count, start.shape[1]), -1)
    numbers[which] = number
    np.add.at(areas, which, area)
    np.minimum.at(first, which, start)
    np.maximum.at(last, which, stop)
    return Pieces(numbers, first, last, areas)
