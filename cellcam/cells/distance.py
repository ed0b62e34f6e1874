"""Distance of the pixels of a mask from its background.

In planes of square pixels the squares of distances are whole numbers, and those of cells fit in
16 bits, on which a processor does 16 to 32 operations at a time. Larger distances, and volumes,
are left to scipy. Both are exact: no result depends on which was taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.gaussian import with_odd_rows

Mask = NDArray[np.bool_]

# The sum of two squares below this one is less than 2**16.
_FARTHEST = 180
# Pixels of a strip of rows whose arrays stay in a processor core's cache.
_STRIP = 2**16

# Steps along x between looks whether farther ones can matter; a look takes as long as half a step.
_LOOK = 4


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
    rows = max(1, _STRIP // n_columns)
    distance: NDArray[np.float64] = with_odd_rows(mask.shape, np.float64)
    for top in range(0, n_rows, rows):
        squares = _squared_distance(along_y[top : top + rows])
        if squares.max() >= _FARTHEST**2:
            return None
        np.sqrt(squares, out=distance[top : top + rows], dtype=np.float64)
    return distance


def _distance_along_y(mask: Mask) -> NDArray[np.uint16]:
    """Distance from the nearest background in the same column, at most `_FARTHEST`.

    Distances below ``step`` are known; looking that far up and down doubles what is known.
    """
    distance = mask.astype(np.uint16)
    distance *= np.uint16(_FARTHEST)
    step = 1
    while step < _FARTHEST and step <= distance.max():
        for near, far in ((slice(step, None), slice(-step)), (slice(-step), slice(step, None))):
            np.minimum(distance[near], distance[far] + np.uint16(step), out=distance[near])
        step *= 2
    return distance


def _squared_distance(along_y: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Least sum of squares of the distances along y and x, for whole rows."""
    n_columns = along_y.shape[1]
    far = int(along_y.max())  # nothing farther along x is nearer
    squares = np.pad(along_y**2, ((0, 0), (far, far)), constant_values=far**2)
    least = squares[:, far : far + n_columns].copy()
    sides = np.empty_like(least)
    for step in range(1, far):
        if step % _LOOK == 0 and step**2 >= least.max():
            break
        np.minimum(
            squares[:, far - step : far - step + n_columns],
            squares[:, far + step : far + step + n_columns],
            out=sides,
        )
        sides += np.uint16(step**2)
        np.minimum(least, sides, out=least)
    return least
