"""Fields with noise, some of them with areas that hold no data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Change = Callable[[np.ndarray], np.ndarray]


def field_of_cells(size: int = 320, n_cells: int = 24, seed: int = 0) -> np.ndarray:
    """Blurred discs on a background of 100 counts with photon noise: (2, size, size) uint16."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    light = np.zeros((size, size))
    for cy, cx in random.uniform(0, size, (n_cells, 2)):
        light[np.hypot(y - cy, x - cx) < 8] = 300
    light = ndimage.gaussian_filter(light, 1.5)
    return random.poisson(100 + np.stack([light, light / 2])).astype(np.uint16)


def border(pixels: np.ndarray, value: float = 0, width: int = 70) -> np.ndarray:
    """The field with a border of one value on two sides."""
    filled = pixels.copy()
    filled[:, :width], filled[:, :, -width:] = value, value
    return filled


def turned(pixels: np.ndarray, order: int = 1) -> np.ndarray:
    """The field as a registration leaves it: turned and interpolated, zero around it."""
    turned = [ndimage.rotate(c.astype(np.float32), 8, order=order) for c in pixels]
    return np.stack(turned)


def with_hole(pixels: np.ndarray) -> np.ndarray:
    """The field without one tile."""
    filled = pixels.copy()
    filled[:, 128:224, 96:192] = 0
    return filled


def clipped(pixels: np.ndarray, level: int = 115) -> np.ndarray:
    """The field with a level subtracted: most of the background is exactly 0."""
    return np.maximum(pixels.astype(int) - level, 0).astype(np.uint16)


def masked_cells(pixels: np.ndarray) -> np.ndarray:
    """The cells alone, 0 around them."""
    cells = ndimage.gaussian_filter(pixels[0].astype(float), 1) > 150
    return (pixels * cells).astype(np.uint16)


def saturated(pixels: np.ndarray) -> np.ndarray:
    """The field as 8 bits in which all cells are too bright."""
    return np.minimum(pixels.astype(int) * 5 // 4, 255).astype(np.uint8)
