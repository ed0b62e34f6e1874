"""Size of the largest cell of a label image, read block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.blocks import blocks_of
from cellcam.stacks.stack import Stack


def largest_extent(labels: Stack) -> int:
    """Pixels along y or x of the largest cell in any plane of a label image.

    Parameters
    ----------
    labels : one channel; it is read block by block
    """
    largest = 0
    for t, z in np.ndindex(labels.data.shape[0], labels.data.shape[2]):
        first = np.empty((0, 2), np.int64)
        last = np.empty((0, 2), np.int64)
        for block in blocks_of(labels, 0):
            pixels = labels.cut(*block.core.slices).field(t, z)[0]
            first, last = _grown(first, last, pixels, block.core.start)
        seen = last[:, 0] >= 0
        largest = max(largest, int((last - first)[seen].max(initial=0)))
    return largest


def _grown(
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    pixels: NDArray[np.generic],
    start: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Extend the bounding boxes of all cells by the pixels of one more block.

    Parameters
    ----------
    first, last : (N, 2) corners of each cell's box, by label
    pixels : labels of the block
    start : first pixel of the block in the field
    """
    from scipy import ndimage

    boxes = ndimage.find_objects(np.asarray(pixels, np.int64))
    more = max(0, len(boxes) - len(first))
    first = np.pad(first, ((0, more), (0, 0)), constant_values=2**60)
    last = np.pad(last, ((0, more), (0, 0)), constant_values=-1)
    for i, box in enumerate(boxes):
        if box is not None:
            corners = np.array([(s.start, s.stop) for s in box]) + np.array(start)[:, None]
            first[i] = np.minimum(first[i], corners[:, 0])
            last[i] = np.maximum(last[i], corners[:, 1])
    return first, last
