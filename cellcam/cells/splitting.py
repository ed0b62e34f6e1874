"""Split connected parts of a mask into cells, at the valleys of the depth inside of them.

Most parts hold one peak and are one cell: only the others are flooded. The results are those of
scikit-image's ``peak_local_max`` and ``watershed`` on the whole image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.connected_parts import Index, Mask, Parts
from cellcam.cells.flooding import flooded

Depth = NDArray[np.float64]
# Pixels that are looked at around candidates for peaks at one time.
_LOOKED_AT = 2**20


def split_parts(parts: Parts, sizes: Index, depth: Depth, min_distance: int) -> Parts:
    """Cells of connected parts: a watershed of the depth from its peaks.

    Parameters
    ----------
    parts : int32 image, 0 outside; N parts count from 1
    sizes : (N,) their numbers of pixels
    depth : float64 of the same shape, 0 outside of the parts
    min_distance : a peak is the highest pixel of its part so far along each axis

    Returns
    -------
    int32 image; cells count from 1 in the order of their first pixel
    """
    peaks = peaks_of_parts(parts, sizes, depth, min_distance)
    number = np.arange(1, len(peaks) + 1, dtype=np.int32)
    part = parts[tuple(peaks.T)]
    several = np.bincount(part, minlength=len(sizes) + 1) > 1
    only_peak = np.zeros(len(sizes) + 1, np.int32)
    only_peak[part] = number
    only_peak[several] = 0
    many = several[part]
    cells = flooded(parts, several, depth, peaks[many], number[many])
    cells += only_peak.take(parts)
    return in_reading_order(cells)


def peaks_of_parts(parts: Parts, sizes: Index, depth: Depth, min_distance: int) -> Index:
    """Peaks (P, ndim) of the depth of each part; see `split_parts` for the parameters.

    Other parts do not count, however near. Of peaks of equal height in one part, nearer than
    ``min_distance``, the first stays.
    """
    peaks = _highest_in_window(_highest_of_neighbours(parts > 0, depth), parts, depth, min_distance)
    part, height = parts[tuple(peaks.T)], depth[tuple(peaks.T)]
    special = np.unique(
        np.concatenate([_even_parts(part, sizes), _parts_with_equals(part, height, min_distance)])
    )
    lowest = float(depth.min())
    ordinary = (height > lowest) & ~np.isin(part, special)
    return np.concatenate([peaks[ordinary], _special_peaks(special, parts, depth, min_distance)])


def in_reading_order(labels: NDArray[np.integer]) -> Parts:
    """Renumber from 1 by first pixel, so that the same image always gives the same labels."""
    flat = labels.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    changes = np.concatenate([[0], changes])
    values = flat[changes]
    first = np.full(int(values.max()) + 1, flat.size)
    first[values[::-1]] = changes[::-1]  # of equal indices the last assignment stays
    first[0] = flat.size
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < flat.size)]
    renumbered = np.zeros(len(first), np.int32)
    renumbered[order] = np.arange(1, len(order) + 1)
    return renumbered.take(labels)


def _highest_of_neighbours(mask: Mask, depth: Depth) -> Index:
    """Pixels (P, ndim) of the mask that none of their neighbours along an axis exceeds."""
    highest = mask.copy()
    for axis in range(depth.ndim):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        highest[before] &= depth[before] >= depth[after]
        highest[after] &= depth[after] >= depth[before]
    return np.argwhere(highest)


def _highest_in_window(pixels: Index, parts: Parts, depth: Depth, reach: int) -> Index:
    """Those pixels that no pixel of the same part exceeds in the window around them."""
    step = max(1, _LOOKED_AT // (2 * reach + 1) ** parts.ndim)
    chunks = [pixels[n : n + step] for n in range(0, len(pixels), step)]
    kept = [chunk[~_is_exceeded(chunk, parts, depth, reach)] for chunk in chunks]
    return np.concatenate([pixels[:0], *kept])


def _is_exceeded(pixels: Index, parts: Parts, depth: Depth, reach: int) -> Mask:
    """Whether a pixel of the same part in the window around each pixel is higher: (P,)."""
    n_axes = parts.ndim
    offsets = np.arange(-reach, reach + 1)
    window = []
    for axis, length in enumerate(parts.shape):
        along = np.clip(pixels[:, axis, None] + offsets, 0, length - 1)
        window.append(along.reshape(-1, *(len(offsets) if n == axis else 1 for n in range(n_axes))))
    centre = (-1, *(1,) * n_axes)
    height = depth[tuple(pixels.T)].reshape(centre)
    part = parts[tuple(pixels.T)].reshape(centre)
    higher = (depth[tuple(window)] > height) & (parts[tuple(window)] == part)
    exceeded: Mask = higher.any(axis=tuple(range(1, n_axes + 1)))
    return exceeded


def _even_parts(part: Parts, sizes: Index) -> Index:
    """Parts all of whose pixels are peaks."""
    return np.flatnonzero(np.bincount(part, minlength=len(sizes) + 1)[1:] == sizes) + 1


def _parts_with_equals(part: Parts, height: Depth, min_distance: int) -> Index:
    """Parts that have several peaks of the same height, where one may have to go."""
    if min_distance == 1:
        return np.empty(0, np.int64)
    order = np.lexsort((height, part))
    part, height = part[order], height[order]
    equal = (part[1:] == part[:-1]) & (height[1:] == height[:-1])
    return part[1:][equal].astype(np.int64)


def _special_peaks(special: Index, parts: Parts, depth: Depth, min_distance: int) -> Index:
    """Peaks as scikit-image chooses them from equals, in a few parts."""
    from scipy import ndimage
    from skimage.feature import peak_local_max

    found = [np.empty((0, parts.ndim), np.int64)]
    if not len(special):
        return found[0]
    lowest = float(depth.min())
    boxes = ndimage.find_objects(parts)
    for number in special:
        box = boxes[number - 1]
        peaks = peak_local_max(
            depth[box],
            min_distance=min_distance,
            threshold_abs=lowest,
            labels=(parts[box] == number).astype(np.int32),
            exclude_border=False,
        )
        found.append(peaks + [side.start for side in box])
    return np.concatenate(found)
