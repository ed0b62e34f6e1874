"""The mean picture of many cells, each turned so that its long axis lies level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FEWEST_PIXELS = 10  # of a region whose long axis is meaningful


def mean_picture(
    images: NDArray[np.floating], regions: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Mean of images of cells, each turned so that the cell's long axis lies level.

    Parameters
    ----------
    images : (N, K, Y, X), centred on the cells; K planes are turned together
    regions : (N, Y, X) masks of the cells; None: images are not turned

    Returns
    -------
    (K, Y, X)
    """
    from scipy.ndimage import rotate

    total = np.zeros(images.shape[1:])
    for i, image in enumerate(images):
        degrees = 0.0 if regions is None else long_axis_degrees(regions[i])
        total += rotate(image, degrees, axes=(1, 2), reshape=False, order=1, mode="nearest")
    return total / max(1, len(images))


def long_axis_degrees(region: NDArray[np.bool_]) -> float:
    """Angle of a region's long axis below the horizontal, -90 to 90; 0 below 10 pixels."""
    if region.sum() < _FEWEST_PIXELS:
        return 0.0
    y, x = (axis - axis.mean() for axis in np.nonzero(region))
    return float(np.degrees(0.5 * np.arctan2(2 * (x * y).mean(), (x**2).mean() - (y**2).mean())))
