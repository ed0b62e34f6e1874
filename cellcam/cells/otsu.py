"""Otsu's threshold from sorted values: one sort serves percentile, histogram and means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

_BINS = 256


def otsu_of_root(values: Values) -> float:
    """Otsu's threshold of the square root of the values above the background, as a value.

    The background is the first percentile. Equals scikit-image's ``threshold_otsu``, 256 bins.

    Parameters
    ----------
    values : (P,) ascending
    """
    from skimage.filters import threshold_otsu

    background = float(np.percentile(values, 1))
    root = values - background
    np.sqrt(np.clip(root, 0, None, out=root), out=root)
    if root[0] == root[-1]:
        return float(root[0]) ** 2 + background
    edges = np.histogram_bin_edges(root[[0, -1]], _BINS)
    inner = np.searchsorted(root, edges[1:-1])
    counts = np.diff(inner, prepend=0, append=len(root))
    centres = (edges[:-1] + edges[1:]) / 2
    return float(threshold_otsu(hist=(counts, centres))) ** 2 + background


def contrast(values: Values, threshold: float) -> float:
    """Mean of the ascending values (P,) above a threshold less that of the others.

    NaN where all lie on one side.
    """
    first = int(np.searchsorted(values, np.float32(threshold), "right"))
    if not 0 < first < len(values):
        return float("nan")
    below, above = values[:first], values[first:]
    return float(above.mean(dtype=np.float64) - below.mean(dtype=np.float64))
