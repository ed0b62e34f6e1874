"""How a crop looks: a few measures of each channel that a change of the imaging changes.

They tell whether a cell looks like those of the training (`cellcam.models.unlike`). The network's
own features cannot: it learns to overlook what does not distinguish its classes, such as exposure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# In standard deviations of the training pixels: differences below these are noise.
_LEVEL, _STEP, _DETAIL = 1e-2, 1e-3, 1e-4
# Measures are logarithms: beyond this, counts were too large for numbers.
_BEYOND_NUMBERS = 100.0
# Crops measured at once: their pixels fit the caches.
_AT_ONCE = 64


class Measures(NamedTuple):
    """Measures of N crops, (N, C) each, on logarithmic scales: factors become differences.

    Attributes
    ----------
    background : median along the border
    bright, brightest : how far the 95th and 99th percentile lie above the median
    dark : how far the 5th percentile lies below the median
    total : mean above the background
    detail : root mean square difference of neighbouring pixels
    fine, medium, coarse : ratio of that at steps of 1 to 2, of 2 to 4, and of 4 to 8 pixels
    sharpest : strongest step of 1 pixel (98th percentile), relative to ``bright`` and ``dark``
    edges : that, relative to the median step
    spread : distance from the middle at which the signal lies
    size : part of the crop where the signal is more than half of the strongest
    """

    background: Floats
    bright: Floats
    dark: Floats
    brightest: Floats
    total: Floats
    detail: Floats
    fine: Floats
    medium: Floats
    coarse: Floats
    sharpest: Floats
    edges: Floats
    spread: Floats
    size: Floats


def appearance(crops: NDArray[np.generic], offset: Floats, scale: Floats) -> Floats:
    """Measures of how each crop looks.

    Parameters
    ----------
    crops : (N, C, *spatial) counts
    offset, scale : (C,) normalisation of each channel, (counts - offset) / scale

    Returns
    -------
    (N, C, len(Measures._fields)) float32
    """
    measures = np.empty((*crops.shape[:2], len(Measures._fields)), np.float32)
    by_channel = (1, -1, *[1] * (crops.ndim - 2))
    shift, width = offset.reshape(by_channel), scale.reshape(by_channel)
    for first in range(0, len(crops), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            x: Floats = (crops[part].astype(np.float32) - shift) / width
            measures[part] = np.stack(_measured(x), 2)
    most = _BEYOND_NUMBERS
    return np.clip(np.nan_to_num(measures, nan=most, posinf=most, neginf=-most), -most, most)


def background_level(measure: float) -> float:
    """Level of the normalised input, of a value of `Measures.background`."""
    return float(np.sign(measure) * np.expm1(abs(measure)) * _LEVEL)


def _measured(x: Floats) -> Measures:
    # Every second pixel is enough for levels, at a quarter of the time.
    grid = x[tuple(slice(None, None, 2 if i > 1 and n > 16 else 1) for i, n in enumerate(x.shape))]
    pixels = grid.reshape(*x.shape[:2], -1)
    low, middle, high, top = _quantiles(pixels, (0.05, 0.5, 0.95, 0.99))
    border = _border_level(x)
    details = [_detail(x, step) + _DETAIL for step in (1, 2, 4, 8)]
    strong, usual = _strong_and_usual_step(x)
    signal = np.abs(pixels - border[..., None])
    strongest = signal.max(2, keepdims=True)
    beyond = np.maximum(signal - strongest / 4, 0)
    spread = beyond @ _distance_from_middle(grid.shape[2:]) / (beyond.sum(2) + 1e-6)
    return Measures(
        background=_signed_log(border),
        bright=np.log(high - middle + _LEVEL),
        dark=np.log(middle - low + _LEVEL),
        brightest=np.log(top - middle + _LEVEL),
        total=_signed_log(pixels.mean(2) - border),
        detail=np.log(details[0]),
        fine=np.log(details[0] / details[1]),
        medium=np.log(details[1] / details[2]),
        coarse=np.log(details[2] / details[3]),
        sharpest=np.log((strong + _STEP) / (high - low + 2 * _LEVEL)),
        edges=np.log((strong + _STEP) / (usual + _STEP)),
        spread=np.log(spread + 0.3),
        size=np.log((signal > strongest / 2).mean(2, dtype=np.float32) + 3e-3),
    )


def _quantiles(pixels: Floats, shares: tuple[float, ...]) -> list[Floats]:
    """Values below which these shares of the pixels lie: (N, C) each."""
    ordered = np.sort(pixels, axis=2)
    return [ordered[..., round(share * (pixels.shape[2] - 1))] for share in shares]


def _border_level(x: Floats) -> Floats:
    """Median along the edges of the last two axes: (N, C)."""
    edges = [x[..., 0, :], x[..., -1, :], x[..., 1:-1, 0], x[..., 1:-1, -1]]
    flat = np.concatenate([edge.reshape(*x.shape[:2], -1) for edge in edges], 2)
    level: Floats = np.sort(flat, axis=2)[..., flat.shape[2] // 2]
    return level


def _detail(x: Floats, step: int) -> Floats:
    """Root mean square difference of pixels ``step`` apart, along all axes: (N, C)."""
    long = [axis for axis in range(2, x.ndim) if x.shape[axis] > 2 * step]
    stride = max(1, step // 2)  # neighbouring differences of a large step say the same
    total = np.zeros(x.shape[:2], np.float32)
    for axis in long:
        lines = _thinned(x, axis, stride)
        steps = (lines[:, :, step:] - lines[:, :, :-step]).reshape(*x.shape[:2], -1)
        total += np.einsum("ncp,ncp->nc", steps, steps) / steps.shape[2]
    return np.sqrt(total / max(1, len(long)))


def _strong_and_usual_step(x: Floats) -> tuple[Floats, Floats]:
    """98th percentile, and median, of the differences of neighbouring pixels: (N, C) each."""
    steps = [
        np.abs(np.diff(_thinned(x, axis, 4), axis=2)).reshape(*x.shape[:2], -1)
        for axis in range(2, x.ndim)
        if x.shape[axis] > 1
    ]
    strong, usual = _quantiles(np.concatenate(steps, 2), (0.98, 0.5))
    return strong, usual


def _thinned(x: Floats, axis: int, stride: int) -> Floats:
    """``axis`` as the first of space, with every ``stride``-th line along it."""
    lines = np.moveaxis(x, axis, 2)
    lines = lines[..., ::stride] if lines.shape[-1] > 2 * stride else lines
    return lines


def _distance_from_middle(shape: tuple[int, ...]) -> Floats:
    """Distance of each pixel from the middle of an image, in pixels, flat."""
    places = np.indices(shape).reshape(len(shape), -1)
    middle = (np.array(shape)[:, None] - 1) / 2
    return np.linalg.norm(places - middle, axis=0).astype(np.float32)


def _signed_log(values: Floats) -> Floats:
    signed: Floats = np.sign(values) * np.log1p(np.abs(values) / _LEVEL)
    return signed
