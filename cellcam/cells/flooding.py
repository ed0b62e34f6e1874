"""Watershed of a few parts of an image, moved together so that only they cost time.

In most fields a tenth of the pixels lies in parts with several cells. The boxes around these parts
are laid side by side on a smaller image, on shelves of one height each. A watershed never leaves
a connected part, and the order of a part's pixels stays the same: the cells are those of a
watershed of the whole image.

Only equal peaks of one part are another matter. Which of them scikit-image floods first depends
on all other peaks of the image, so that a block of a field could differ from the field. Here it is
the first in reading order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.connected_parts import Index, Mask, Parts


def flooded(
    parts: Parts, chosen: Mask, depth: NDArray[np.float64], peaks: Index, number: NDArray[np.int32]
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
    from skimage.segmentation import watershed

    cells = np.zeros(parts.shape, np.int32)
    pixels = np.nonzero(chosen[parts])
    if not len(pixels[0]):
        return cells
    moves, shape = _side_by_side(parts, chosen)
    placed = _moved(pixels, parts, moves)
    surface, mask = np.zeros(shape), np.zeros(shape, bool)
    surface[placed], mask[placed] = -depth[pixels], True
    sources = _moved(tuple(peaks.T), parts, moves)
    surface[sources] = -_heights_in_order(parts, depth, peaks)
    markers = np.zeros(shape, np.int32)
    markers[sources] = number
    cells[pixels] = watershed(surface, markers, mask=mask)[placed]
    return cells


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


def _moved(pixels: Sequence[Index], parts: Parts, moves: Index) -> tuple[Index, ...]:
    """Pixels of parts on the smaller image."""
    move = moves[parts[tuple(pixels)]]
    return tuple(along + move[:, axis] for axis, along in enumerate(pixels))


def _side_by_side(parts: Parts, chosen: Mask) -> tuple[Index, tuple[int, ...]]:
    """Steps (N + 1, ndim) that move each chosen part to its place, and the shape of the image.

    Parts move along y and x only. One pixel stays free between them.
    """
    from scipy import ndimage

    boxes = ndimage.find_objects(parts)
    numbers = np.flatnonzero(chosen)
    edges = {n: [side.stop - side.start for side in boxes[n - 1][-2:]] for n in numbers}
    widest = max(x for _, x in edges.values())
    width = max(widest, int(sum(y * x for y, x in edges.values()) ** 0.5))
    moves = np.zeros((len(chosen), parts.ndim), np.int64)
    top = left = height = 0
    for n in sorted(numbers, key=lambda n: edges[n]):
        y, x = edges[n]
        if left + x > width:
            top, left, height = top + height + 1, 0, 0
        box = boxes[n - 1]
        moves[n, -2:] = top - box[-2].start, left - box[-1].start
        left, height = left + x + 1, y
    return moves, (*parts.shape[:-2], top + height, width)
