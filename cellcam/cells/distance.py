"""Distance of the pixels of a mask from its background.

In planes of square pixels the squares of distances are whole numbers, and those of cells fit in
16 bits, on which a processor does 16 to 32 operations at a time. Larger distances, and volumes,
are left to scipy. Both are exact: no result depends on which was taken.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

# The sum of two squares below this one is less than 2**16.
_FARTHEST = 180
# Pixels of a strip of rows whose arrays stay in a processor core's cache.
_STRIP = 2**16


def distance_to_background(mask: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Euclidean distance of each pixel of a mask from the nearest pixel outside of it.

    Parameters
    ----------
    mask : (Y, X) or (Z, Y, X)
    spacing : edges of a voxel; the unit of the distance

    Returns
    -------
    float64 of the shape of the mask, 0 outside; equals `scipy.ndimage.distance_transform_edt`
    """
    from scipy import ndimage

    if mask.ndim == 2 and tuple(spacing) == (1.0, 1.0):
        distance = _distance_in_plane(mask)
        if distance is not None:
            return distance
    exact: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing)
    return exact


def _distance_in_plane(mask: Mask) -> NDArray[np.float64] | None:
    """Distance in pixels, (Y, X); None if a pixel is `_FARTHEST` pixels from the background."""
    along_y = _distance_along_y(mask)
    n_rows, n_columns = mask.shape
    rows = max(1, _STRIP // (n_columns + 2 * _FARTHEST))
    distance = np.empty(mask.shape)
    for top in range(0, n_rows, rows):
        squares = _squared_distance(along_y[top : top + rows])
        if squares.max() >= _FARTHEST**2:
            return None
        np.sqrt(squares, out=distance[top : top + rows], dtype=np.float64)
    return distance


def _distance_along_y(mask: Mask) -> NDArray[np.uint16]:
    """Distance from the nearest background in the same column, at most `_FARTHEST`."""
    distance = mask.astype(np.uint16) * np.uint16(_FARTHEST)
    through = np.empty(mask.shape[1], np.uint16)
    for rows in (distance, distance[::-1]):
        for previous, row in pairwise(rows):
            np.minimum(row, np.add(previous, 1, out=through), out=row)
    return distance


def _squared_distance(along_y: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Least sum of squares of the distances along y and x, for whole rows."""
    n_columns = along_y.shape[1]
    far = _FARTHEST
    squares = np.pad(along_y**2, ((0, 0), (far, far)), constant_values=far**2)
    least = squares[:, far : far + n_columns].copy()
    for step in range(1, far):
        if step**2 >= least.max():
            break
        sides = np.minimum(
            squares[:, far - step : far - step + n_columns],
            squares[:, far + step : far + step + n_columns],
        )
        sides += np.uint16(step**2)
        np.minimum(least, sides, out=least)
    return least
