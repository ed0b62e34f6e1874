"""Which cells of neighbouring planes are the same cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import Labels

Counts = NDArray[np.int64]

# Part of the smaller of two cells that must lie over the other one. A nucleus may shrink quickly
# towards its ends, so the part of both together (intersection over union) would be too strict.
LEAST_OVERLAP = 0.5


def link_planes(planes: Sequence[Labels]) -> list[dict[int, int]]:
    """Number the cells of a stack, whose planes were labelled one by one.

    Two cells of neighbouring planes are the same cell if each is the other's best match, the cell
    with the largest intersection over union (of several, that with the smallest label), and half
    of the smaller one lies over the other. Labels are not compared: the same label may mean
    different cells on different planes. A cell that is missing on one plane ends there, and
    begins again with another number.

    Parameters
    ----------
    planes : label images (Y, X) from the first plane to the last, 0 for background

    Returns
    -------
    for each plane, the number of each of its labels: 1, 2, ... in the order of planes and labels
    """
    numbers: list[dict[int, int]] = []
    n_cells = 0
    for z, plane in enumerate(planes):
        same = {} if z == 0 else _same_cells(planes[z - 1], plane)
        here: dict[int, int] = {}
        for label in _labels(plane):
            if label in same:
                here[label] = numbers[-1][same[label]]
            else:
                n_cells += 1
                here[label] = n_cells
        numbers.append(here)
    return numbers


def _same_cells(below: Labels, above: Labels) -> dict[int, int]:
    """The label below of each label above that has one."""
    first, second, overlap = _overlaps(below, above)
    area_first, area_second = _sums(first, overlap), _sums(second, overlap)
    shared = (first > 0) & (second > 0)
    first, second, overlap = first[shared], second[shared], overlap[shared]
    area_first, area_second = area_first[shared], area_second[shared]
    match = overlap / (area_first + area_second - overlap)
    is_mutual = _is_best(first, second, match) & _is_best(second, first, match)
    is_same = is_mutual & (overlap >= LEAST_OVERLAP * np.minimum(area_first, area_second))
    return dict(zip(second[is_same].tolist(), first[is_same].tolist(), strict=True))


def _overlaps(below: Labels, above: Labels) -> tuple[Counts, Counts, Counts]:
    """Every pair of labels that lie over each other, background included, and its pixels."""
    pairs = below.ravel().astype(np.int64) << 32 | above.ravel()
    # Labels come in long runs: few of them need sorting.
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    lengths = np.diff(starts, append=len(pairs))
    kinds, which = np.unique(pairs[starts], return_inverse=True)
    pixels = np.bincount(which, lengths).astype(np.int64)
    return kinds >> 32, kinds & 0xFFFFFFFF, pixels


def _sums(labels: Counts, pixels: Counts) -> Counts:
    """For each pair (P,) the pixels of all pairs with the same label."""
    _, which = np.unique(labels, return_inverse=True)
    return np.bincount(which, pixels).astype(np.int64)[which]


def _is_best(cells: Counts, others: Counts, match: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each pair (P,) is the best of those of its cell: largest match, smallest other."""
    order = np.lexsort((others, -match, cells))
    best = np.zeros(len(cells), bool)
    best[order] = np.diff(cells[order], prepend=0) != 0
    return best


def _labels(plane: Labels) -> list[int]:
    pixels = plane.ravel()
    runs = pixels[np.flatnonzero(np.diff(pixels, prepend=-1))]
    present: list[int] = np.unique(runs[runs > 0]).tolist()
    return present
