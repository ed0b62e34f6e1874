"""Counts that no pixel has: the trace that a stretched contrast leaves, whatever the brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.models.appearance import Floats

# Of an image so many cells are looked at, and of their pixels the middle ones.
_MOST_CELLS = 64
_MIDDLE = 0.005, 0.995
_WIDEST = 2**17
# A count is expected if pixels are this frequent, on average, among the counts around it; of so
# many expected counts a share can be told.
_AROUND, _FREQUENT = 17, 10
_FEWEST_COUNTS = 16
# So many of the pixels must be whole counts: not of a resampled image.
_WHOLE = 0.9


def missing_counts(crops: NDArray[np.generic]) -> Floats:
    """Share of the counts that no pixel has, though counts close to them are frequent.

    A contrast that is stretched by 1.25 and rounded leaves out every fifth count, 0.2.

    Parameters
    ----------
    crops : (N, C, *spatial) counts of cells of one image

    Returns
    -------
    (C,) float32; NaN where it cannot be told: too few pixels or counts, or resampled pixels
    """
    some = crops[:: max(1, len(crops) // _MOST_CELLS)]
    return np.array([_missing(some[:, c].ravel()) for c in range(crops.shape[1])], np.float32)


def _missing(values: NDArray[np.generic]) -> float:
    from scipy.ndimage import uniform_filter1d

    whole = values[values == np.rint(values)]
    if not len(whole) or len(whole) < _WHOLE * len(values):
        return np.nan
    low, high = np.rint(np.quantile(whole, _MIDDLE))
    if high - low > _WIDEST:
        return np.nan
    middle = whole[(whole >= low) & (whole <= high)].astype(np.float64) - low
    pixels = np.bincount(middle.astype(np.int64)).astype(np.float64)
    expected = uniform_filter1d(pixels, _AROUND, mode="nearest") >= _FREQUENT
    if expected.sum() < _FEWEST_COUNTS:
        return np.nan
    return float((pixels[expected] == 0).mean())
