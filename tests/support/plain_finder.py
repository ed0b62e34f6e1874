"""The steps of the finder with scikit-image and SciPy alone, one call for each step."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import remove_small_holes, remove_small_objects
from skimage.segmentation import watershed


def plain_cells(
    image: np.ndarray, diameter: float, spacing: tuple[float, ...] | None = None
) -> np.ndarray:
    """Label image of an image all of whose pixels have data; spacing in units of the last axis."""
    spacing = spacing or (1.0,) * image.ndim
    edges = np.array(spacing)
    smooth = ndimage.gaussian_filter(
        image.astype(np.float32), [max(0.5, diameter / 12) / edge for edge in spacing]
    )
    return plain_split(smooth > plain_threshold(smooth), diameter, tuple(edges))


def plain_threshold(smooth: np.ndarray) -> float:
    """Otsu's threshold of the square root above the background."""
    background = float(np.percentile(smooth, 1))
    root = np.sqrt(np.clip(smooth - background, 0, None))
    return float(threshold_otsu(root)) ** 2 + background


def plain_split(
    mask: np.ndarray,
    diameter: float,
    spacing: tuple[float, ...],
    data: np.ndarray | None = None,
) -> np.ndarray:
    """Cells of a mask: holes filled, small objects removed, watershed of the smoothed depth."""
    factor = np.pi if mask.ndim == 2 else 4 / 3 * np.pi
    volume = factor * (diameter / 2) ** mask.ndim / np.prod(spacing)
    mask = remove_small_holes(mask, max_size=int(volume))
    mask = mask if data is None else mask & data
    mask = remove_small_objects(mask, max_size=max(4, int(volume / 6)))
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    depth = ndimage.gaussian_filter(depth, diameter / 12 / np.array(spacing)) * mask
    peaks = peak_local_max(
        depth,
        min_distance=max(1, round(diameter / 4)),
        labels=label(mask, connectivity=1),
        exclude_border=False,
    )
    return in_reading_order(plain_watershed(depth, peaks, mask))


def plain_watershed(depth: np.ndarray, peaks: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Watershed from peaks, of which equal ones of a part begin in reading order."""
    parts, surface = label(mask, connectivity=1), -depth
    markers = np.zeros(mask.shape, np.int32)
    later: dict[tuple[int, float], int] = {}
    for number, peak in enumerate(sorted(map(tuple, peaks), reverse=True), 1):
        equals = (int(parts[peak]), float(depth[peak]))
        later[equals] = later.get(equals, -1) + 1
        surface[peak] -= later[equals] * np.spacing(depth[peak])
        markers[peak] = number
    return watershed(surface, markers, mask=mask)


def in_reading_order(labels: np.ndarray) -> np.ndarray:
    """Labels renumbered by their first pixel."""
    found, first = np.unique(labels, return_index=True)
    order = found[np.argsort(first)]
    order = order[order > 0]
    table = np.zeros(int(found.max()) + 1, np.int32)
    table[order] = np.arange(1, len(order) + 1)
    return table[labels]


def other_pixels(cells: np.ndarray, expected: np.ndarray) -> int:
    """Pixels outside of the cell that most pixels of their expected cell are in."""
    pairs, counts = np.unique(
        np.stack([expected.ravel(), cells.ravel()]), axis=1, return_counts=True
    )
    most = np.zeros(int(expected.max()) + 1, np.int64)
    np.maximum.at(most, pairs[0], counts)
    return int(cells.size - most.sum())
