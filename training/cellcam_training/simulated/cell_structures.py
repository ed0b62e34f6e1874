"""Structures that simulated cells are drawn with: shapes, textures, organelles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

HALF = 40  # a cell is drawn into a patch of 2 * HALF pixels

Image = NDArray[np.float32]


def rotated_coordinates(random: np.random.Generator) -> tuple[Image, Image]:
    """Coordinates (y, x) of a patch about its centre, rotated by a random angle."""
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[-HALF:HALF, -HALF:HALF].astype(np.float32)
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def soft_ellipse(y: Image, x: Image, high: float, wide: float) -> Image:
    """Ellipse with semi-axes ``high`` and ``wide``: 1 inside, 0 outside, about 1 px between."""
    radius = np.sqrt((y / high) ** 2 + (x / wide) ** 2)
    return (1 / (1 + np.exp((radius - 1) * min(high, wide)))).astype(np.float32)


def texture(random: np.random.Generator, grain: float, depth: float) -> Image:
    """Multiplicative texture of mean 1: standard deviation ``depth``, grain size ``grain`` px."""
    noise = gaussian_filter(random.standard_normal((2 * HALF, 2 * HALF)), grain)
    return np.clip(1 + depth * noise / noise.std(), 0.1, None).astype(np.float32)


def spot(y: Image, x: Image, at: tuple[float, float], radius: float) -> Image:
    """Gaussian spot of peak 1 at (y, x) = ``at``, with standard deviation ``radius``."""
    return np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * radius**2)).astype(np.float32)


def micronucleus(
    random: np.random.Generator, y: Image, x: Image, high: float, wide: float
) -> Image:
    """Disc of 1 to 1.5 um radius beside a nucleus with semi-axes ``high`` and ``wide``."""
    angle, gap = random.uniform(0, 2 * np.pi), random.uniform(5.5, 8.5)
    at = ((high + gap) * np.sin(angle), (wide + gap) * np.cos(angle))
    radius = random.uniform(3, 4.5)
    return soft_ellipse(y - at[0], x - at[1], radius, radius)


def asters(random: np.random.Generator, y: Image, x: Image, high: float, wide: float) -> Image:
    """Two to four asters around the nucleus, each a bright centre with fading rays."""
    total = np.zeros_like(y)
    first, count = random.uniform(0, 2 * np.pi), random.integers(2, 5)
    for angle in first + np.arange(count) * 2 * np.pi / count:
        at = ((high + 4) * np.sin(angle), (wide + 4) * np.cos(angle))
        rays = 0.5 + 0.5 * np.cos(7 * np.arctan2(y - at[0], x - at[1]) + angle)
        total += spot(y, x, at, 1.6) + 0.6 * rays * spot(y, x, at, 3.5)
    return np.minimum(total, 1)


def puncta(random: np.random.Generator, y: Image, x: Image, high: float, wide: float) -> Image:
    """Five to nine puncta well inside the nucleus."""
    total = np.zeros_like(y)
    for _ in range(random.integers(5, 10)):
        angle, reach = random.uniform(0, 2 * np.pi), 0.75 * np.sqrt(random.uniform())
        at = (reach * high * np.sin(angle), reach * wide * np.cos(angle))
        total += spot(y, x, at, 1.3)
    return np.minimum(total, 1)
