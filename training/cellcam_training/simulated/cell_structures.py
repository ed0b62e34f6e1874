"""What simulated cells are drawn with: shapes, textures, evidence, and the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

HALF = 40  # a cell is drawn into a patch of 2 * HALF pixels
_OFFSET, _READ_NOISE = 100.0, 6.0  # camera counts

Image = NDArray[np.float32]


def turned(random: np.random.Generator) -> tuple[Image, Image]:
    """Coordinates of a patch about its centre, turned by a random angle."""
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[-HALF:HALF, -HALF:HALF].astype(np.float32)
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def soft_ellipse(y: Image, x: Image, high: float, wide: float) -> Image:
    """1 inside, 0 outside, with an edge about one pixel soft."""
    radius = np.sqrt((y / high) ** 2 + (x / wide) ** 2)
    return (1 / (1 + np.exp((radius - 1) * min(high, wide)))).astype(np.float32)


def texture(random: np.random.Generator, grain: float, depth: float) -> Image:
    """Multiplicative texture of mean 1."""
    noise = gaussian_filter(random.standard_normal((2 * HALF, 2 * HALF)), grain)
    return np.clip(1 + depth * noise / noise.std(), 0.1, None).astype(np.float32)


def spot(y: Image, x: Image, at: tuple[float, float], radius: float) -> Image:
    """A point out of focus; ``radius`` is its standard deviation."""
    return np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * radius**2)).astype(np.float32)


def spot_outside(
    random: np.random.Generator, y: Image, x: Image, high: float, wide: float
) -> Image:
    """A micronucleus: a disc of 1 to 1.5 um radius next to the nucleus."""
    angle, gap = random.uniform(0, 2 * np.pi), random.uniform(5.5, 8.5)
    at = ((high + gap) * np.sin(angle), (wide + gap) * np.cos(angle))
    radius = random.uniform(3, 4.5)
    return soft_ellipse(y - at[0], x - at[1], radius, radius)


def asters(random: np.random.Generator, y: Image, x: Image, high: float, wide: float) -> Image:
    """Two to four asters around the nucleus: a bright centre and fading rays."""
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


def photographed(random: np.random.Generator, scene: Image) -> NDArray[np.uint16]:
    """Uneven background and illumination, shot noise and camera noise."""
    n_channels, _, height, width = scene.shape
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    shape = (n_channels, 1, 1, 1)
    tilt = random.uniform(-0.15, 0.15, (2, *shape))
    light = 1 - random.uniform(0.05, 0.25, shape) * (u**2 + v**2) + tilt[0] * u + tilt[1] * v
    background = random.uniform(20, 60, shape) * (1.5 - light)
    expected = np.clip(scene * light + background, 0, None)
    counts = random.poisson(expected) + random.normal(_OFFSET, _READ_NOISE, scene.shape)
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)
