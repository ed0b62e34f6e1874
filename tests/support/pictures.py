"""Pictures in white light, with cells that absorb it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.color import hed2rgb

from cellcam.stacks.stack import Stack


def blobs(shape: tuple[int, ...], diameter: float, seed: int) -> np.ndarray:
    """Rounded patches between 0 and 1."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.standard_normal(shape), diameter / 4)
    return np.clip(field / field.max(), 0, 1) ** 0.5


def nuclei(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Which pixels of `stained` are nuclei."""
    return blobs(shape, 14, seed) > 0.4


def stained(shape: tuple[int, int] = (160, 180), seed: int = 0, eosin: float = 0.15) -> np.ndarray:
    """A picture of H&E, uint8 (y, x, 3): few nuclei in haematoxylin, much tissue in eosin."""
    random = np.random.default_rng(seed)
    stains = np.zeros((*shape, 3))
    stains[..., 0] = 0.08 * ndimage.gaussian_filter(nuclei(shape, seed).astype(float), 0.7)
    stains[..., 1] = eosin * blobs(shape, 70, seed + 1)
    picture = 255 * hed2rgb(stains) - random.uniform(8, 16, (*shape, 3))
    return np.clip(picture, 1, 255).astype(np.uint8)


def colour_stack(picture: np.ndarray) -> Stack:
    """Stack of a picture (y, x, 3), as an opened file gives it."""
    stack = Stack.from_array(np.moveaxis(picture, -1, 0), "CYX", ["red", "green", "blue"])
    return replace(stack, is_colour=True)
