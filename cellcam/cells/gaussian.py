"""Gaussian means, in memory whose columns a processor's cache can hold."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Float = TypeVar("_Float", np.float32, np.float64)
# Bytes of a line of the cache.
_LINE = 64


def gaussian_mean(
    image: NDArray[_Float], sigma: NDArray[np.float64], *, in_place: bool = False
) -> NDArray[_Float]:
    """`scipy.ndimage.gaussian_filter` into an array of `with_odd_rows`.

    Parameters
    ----------
    image : any shape; made by `with_odd_rows`, or scipy takes up to three times as long
    sigma : standard deviations along its axes, in pixels
    in_place : whether the means replace the image
    """
    from scipy import ndimage

    means = image if in_place else with_odd_rows(image.shape, image.dtype)
    return ndimage.gaussian_filter(image, sigma, output=means)


def with_odd_rows(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[_Float]:
    """Unset array whose rows are an odd number of cache lines apart.

    Where rows follow each other at a power of two, as in an image 1,024 pixels wide, all pixels of
    a column fall on the same few places of the cache.
    """
    dtype = np.dtype(dtype)
    lines = -(-shape[-1] * dtype.itemsize // _LINE) | 1
    return np.empty((*shape[:-1], lines * _LINE // dtype.itemsize), dtype)[..., : shape[-1]]
