"""Width of cells from the mean intensity around their centres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_ANGLES, _SMOOTHING = 24, 1.0
# Radii up to this part of the shorter side of a field, and up to this number of pixels.
_REACH, _LARGEST_RADIUS, _SMALLEST_RADIUS = 1 / 3, 256, 2
# The edge of the mean cell ends where its slope has fallen to this part of the steepest.
_END_OF_EDGE = 0.15
# Slope in standard errors that noise and random centres do not reach, and centres needed for it.
_CERTAIN, _FEWEST = 6.0, 10
_MOST_IN_A_FIELD = 200


class MeanWidth(NamedTuple):
    """Width of the mean cell, and the slope of its edge in standard errors."""

    pixels: float
    certainty: float


def mean_width(
    images: Sequence[NDArray[np.generic]],
    centres: Sequence[NDArray[np.float64]],
    scales: Sequence[float],
) -> MeanWidth | None:
    """Width of the mean cell: twice the radius at which its edge ends.

    The intensity around each centre is averaged over circles, and then over the cells. Its
    steepest slope is the edge of most cells; farther out, where it has become flat, the edges of
    the larger cells have passed, too.

    Parameters
    ----------
    images : fields (Y, X) of one channel
    centres : of each field, (N, 2), (y, x) in pixels
    scales : of each field: pixels of the result for one of its pixels

    Returns
    -------
    width in scaled pixels; None if there is no edge that all cells share
    """
    reach = min(min(i.shape) * s for i, s in zip(images, scales, strict=True))
    radii = np.arange(min(reach * _REACH, _LARGEST_RADIUS))
    profiles = np.concatenate(
        [
            _profiles(image, points, radii / scale)
            for image, points, scale in zip(images, centres, scales, strict=True)
        ]
    )
    profiles = profiles[np.isfinite(profiles).all(axis=1)]
    if len(profiles) < _FEWEST or len(radii) <= 2 * _SMALLEST_RADIUS:
        return None
    slopes = np.gradient(profiles, axis=1)
    mean = slopes.mean(axis=0)
    error = slopes.std(axis=0, ddof=1) / np.sqrt(len(slopes))
    steepest = _SMALLEST_RADIUS + int(np.abs(mean[_SMALLEST_RADIUS:]).argmax())
    if not abs(mean[steepest]) > _CERTAIN * error[steepest]:
        return None
    flat = mean[steepest:] * np.sign(mean[steepest]) < _END_OF_EDGE * abs(mean[steepest])
    if not flat.any():
        return None
    certainty = abs(mean[steepest]) / max(float(error[steepest]), 1e-12)
    return MeanWidth(2 * float(radii[steepest + int(flat.argmax())]), float(certainty))


def _profiles(
    image: NDArray[np.generic], centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean on circles around each centre (N, R); NaN where a circle lies outside the image."""
    from scipy import ndimage

    if len(centres) > _MOST_IN_A_FIELD:
        chosen = np.linspace(0, len(centres) - 1, _MOST_IN_A_FIELD).round().astype(int)
        centres = centres[chosen]
    smooth = ndimage.gaussian_filter(image.astype(np.float32), _SMOOTHING)
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    y = centres[:, 0, None, None] + radii[:, None] * np.sin(angles)
    x = centres[:, 1, None, None] + radii[:, None] * np.cos(angles)
    height, width = smooth.shape
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    values = ndimage.map_coordinates(smooth, [y, x], order=1, mode="nearest")
    number = inside.sum(axis=2)
    return np.where(inside, values, 0).sum(axis=2) / np.where(number, number, np.nan)
