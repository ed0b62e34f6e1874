"""Label images with any numbers, up to 2147483647, as label images that count 1, 2, 3, ..."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)
# A table by label is used up to this many entries for each pixel; larger labels are sorted.
_ENTRIES_PER_PIXEL = 4


def compacted(labels: NDArray[np.integer]) -> tuple[Numbers, NDArray[np.int32]]:
    """Number the cells of a label image from 1, in the order of their labels.

    Returns
    -------
    (N,) ascending labels > 0, and the label image whose cell i + 1 had label i of these
    """
    if int(labels.max(initial=0)) > _ENTRIES_PER_PIXEL * labels.size + 1024:
        return _sorted(labels)
    present = np.zeros(int(labels.max(initial=0)) + 1, bool)
    present[labels.ravel()] = True
    present[0] = False
    numbers = np.flatnonzero(present)
    place = np.zeros(len(present), np.int32)
    place[numbers] = np.arange(1, len(numbers) + 1)
    return numbers, place[labels]


def _sorted(labels: NDArray[np.integer]) -> tuple[Numbers, NDArray[np.int32]]:
    """Same for labels too large for a table; they come in runs, of which few need sorting."""
    pixels = labels.ravel().astype(np.int64)
    starts = np.flatnonzero(np.diff(pixels, prepend=-1))
    values = pixels[starts]
    numbers = np.unique(values[values > 0])
    place = np.where(values > 0, np.searchsorted(numbers, values) + 1, 0).astype(np.int32)
    lengths = np.diff(starts, append=len(pixels))
    return numbers, np.repeat(place, lengths).reshape(labels.shape)


def by_label(
    labels: NDArray[np.integer], numbers: NDArray[np.integer], values: NDArray[Value]
) -> NDArray[Value]:
    """Image in which every pixel of a cell has the value of that cell, and others 0.

    Parameters
    ----------
    labels : label image
    numbers : (N,) labels
    values : (N, ...) value of each; cells that are not among ``numbers`` get 0
    """
    present, compact = compacted(labels)
    table = np.zeros((len(present) + 1, *values.shape[1:]), values.dtype)
    known = np.isin(numbers, present)
    table[np.searchsorted(present, numbers[known]) + 1] = values[known]
    image: NDArray[Value] = table[compact]
    return image
