"""Simulated cells whose evidence is planted where we know it.

Three stains (DNA, tubulin, a marker), five classes. Everything but the evidence (size, shape,
brightness, background, focus) is drawn alike for all classes, so that only the evidence can
tell them apart:

============  ==========================================  ================
class         evidence                                    evidence channel
============  ==========================================  ================
interphase    none
mitotic       a metaphase plate in place of the nucleus   DNA
micronucleus  a small satellite beside the nucleus        DNA
asters        two to four bright asters                   tubulin
foci          bright puncta inside the nucleus            marker
============  ==========================================  ================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

CHANNELS = ("DNA", "tubulin", "marker")
CLASSES = ("interphase", "mitotic", "micronucleus", "asters", "foci")
EVIDENCE_CHANNEL = dict(zip(CLASSES, ("", "DNA", "DNA", "tubulin", "marker"), strict=True))
PIXEL_SIZE_UM = (1.5, 0.325, 0.325)

_HALF = 40  # a cell is drawn into a patch of 2 * _HALF pixels
_OFFSET, _READ_NOISE = 100.0, 6.0  # camera counts

Image = NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedField:
    """One simulated field of view and its truth.

    Attributes
    ----------
    pixels : (C, Z, Y, X) uint16 counts, channels as in `CHANNELS`
    labels : (Y, X) uint16 nuclei; 0 is background
    evidence : (Y, X) uint16, the label of the cell whose evidence a pixel carries, else 0
    classes : class of label 1, 2, ...
    centres : (N, 2) y, x of each cell in pixels
    """

    pixels: NDArray[np.uint16]
    labels: NDArray[np.uint16]
    evidence: NDArray[np.uint16]
    classes: Sequence[str]
    centres: NDArray[np.float64]


@dataclass(frozen=True)
class _Cell:
    """One cell drawn into a patch: stains (C, P, P), nucleus and evidence masks (P, P)."""

    stains: Image
    nucleus: NDArray[np.bool_]
    evidence: NDArray[np.bool_]


def simulate_field(
    seed: int, size: int = 448, n_cells: int = 42, n_planes: int = 5
) -> SimulatedField:
    """Simulate one field of touching and scattered cells.

    Parameters
    ----------
    seed : the same seed gives the same field
    size : pixels along y and x, of 0.325 um
    n_cells : at most; fewer where they do not fit
    n_planes : along z, 1.5 um apart
    """
    random = np.random.default_rng(seed)
    centres = _scattered(random, size, n_cells)
    classes = [CLASSES[i % len(CLASSES)] for i in random.permutation(len(centres))]
    scene = np.zeros((len(CHANNELS), n_planes, size + 2 * _HALF, size + 2 * _HALF), np.float32)
    labels = np.zeros(scene.shape[-2:], np.uint16)
    evidence = np.zeros_like(labels)
    for number, (centre, name) in enumerate(zip(centres, classes, strict=True), start=1):
        cell = _draw_cell(random, name)
        y, x = (round(c) for c in centre)
        window = (slice(y, y + 2 * _HALF), slice(x, x + 2 * _HALF))
        focus = random.uniform(0.25, 0.75) * (n_planes - 1)
        for plane in range(n_planes):
            sigma = 1.0 + 0.9 * abs(plane - focus)
            scene[(slice(None), plane, *window)] += gaussian_filter(cell.stains, (0, sigma, sigma))
        labels[window][cell.nucleus] = number
        evidence[window][cell.evidence] = number
    inner = (..., slice(_HALF, -_HALF), slice(_HALF, -_HALF))
    pixels = _photographed(random, scene[inner])
    return SimulatedField(pixels, labels[inner], evidence[inner], classes, centres)


def _scattered(random: np.random.Generator, size: int, n_cells: int) -> NDArray[np.float64]:
    """Centres at least one nucleus apart; every fourth cell touches an earlier one."""
    centres: list[NDArray[np.float64]] = []
    for _ in range(60 * n_cells):
        if len(centres) == n_cells:
            break
        touching = len(centres) % 4 == 3
        if touching:
            angle, distance = random.uniform(0, 2 * np.pi), random.uniform(26, 30)
            offset = distance * np.array([np.sin(angle), np.cos(angle)])
            candidate = centres[random.integers(len(centres))] + offset
        else:
            candidate = random.uniform(18, size - 18, 2)
        apart = [np.hypot(*(candidate - other)) for other in centres]
        inside = (candidate > 14).all() and (candidate < size - 14).all()
        if inside and min(apart, default=np.inf) >= (26 if touching else 44):
            centres.append(candidate)
    return np.array(centres)


def _draw_cell(random: np.random.Generator, name: str) -> _Cell:
    y, x = _turned(random)
    wide, high = random.uniform(12.5, 15.5), random.uniform(10, 12.5)
    nucleus = _soft_ellipse(y, x, high, wide)
    body = _soft_ellipse(y, x, high * 1.9, wide * 1.75)
    dna = nucleus * random.uniform(300, 650) * _texture(random, 2.0, 0.25)
    tubulin = body * (1 - 0.6 * nucleus) * random.uniform(150, 400) * _texture(random, 1.2, 0.5)
    marker = (body * random.uniform(20, 120) + nucleus * random.uniform(20, 200)) * _texture(
        random, 3.0, 0.2
    )
    evidence = np.zeros(nucleus.shape, bool)
    if name == "mitotic":
        plate = _soft_ellipse(y, x, random.uniform(3, 4), random.uniform(10, 12.5))
        dna = plate * random.uniform(700, 1300) * _texture(random, 1.5, 0.2)
        nucleus, evidence = plate, plate > 0.4
    elif name == "micronucleus":
        spot = _spot_outside(random, y, x, high, wide)
        dna += spot * random.uniform(250, 500)
        evidence = spot > 0.4
    elif name == "asters":
        asters = _asters(random, y, x, high, wide)
        tubulin += asters * random.uniform(500, 900)
        evidence = asters > 0.25
    elif name == "foci":
        puncta = _puncta(random, y, x, high, wide)
        marker += puncta * random.uniform(400, 900)
        evidence = puncta > 0.3
    return _Cell(np.stack([dna, tubulin, marker]).astype(np.float32), nucleus > 0.5, evidence)


def _turned(random: np.random.Generator) -> tuple[Image, Image]:
    """Coordinates of a patch about its centre, turned by a random angle."""
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[-_HALF:_HALF, -_HALF:_HALF].astype(np.float32)
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _soft_ellipse(y: Image, x: Image, high: float, wide: float) -> Image:
    """1 inside, 0 outside, with an edge about one pixel soft."""
    radius = np.sqrt((y / high) ** 2 + (x / wide) ** 2)
    return (1 / (1 + np.exp((radius - 1) * min(high, wide)))).astype(np.float32)


def _texture(random: np.random.Generator, grain: float, depth: float) -> Image:
    """Multiplicative texture of mean 1."""
    noise = gaussian_filter(random.standard_normal((2 * _HALF, 2 * _HALF)), grain)
    return np.clip(1 + depth * noise / noise.std(), 0.1, None).astype(np.float32)


def _spot(y: Image, x: Image, at: tuple[float, float], radius: float) -> Image:
    return np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * radius**2)).astype(np.float32)


def _spot_outside(
    random: np.random.Generator, y: Image, x: Image, high: float, wide: float
) -> Image:
    """A micronucleus: a disc of 1 to 1.5 um radius next to the nucleus."""
    angle, gap = random.uniform(0, 2 * np.pi), random.uniform(5.5, 8.5)
    at = ((high + gap) * np.sin(angle), (wide + gap) * np.cos(angle))
    radius = random.uniform(3, 4.5)
    return _soft_ellipse(y - at[0], x - at[1], radius, radius)


def _asters(random: np.random.Generator, y: Image, x: Image, high: float, wide: float) -> Image:
    """Two to four asters around the nucleus: a bright centre and fading rays."""
    total = np.zeros_like(y)
    first, count = random.uniform(0, 2 * np.pi), random.integers(2, 5)
    for angle in first + np.arange(count) * 2 * np.pi / count:
        at = ((high + 4) * np.sin(angle), (wide + 4) * np.cos(angle))
        rays = 0.5 + 0.5 * np.cos(7 * np.arctan2(y - at[0], x - at[1]) + angle)
        total += _spot(y, x, at, 1.6) + 0.6 * rays * _spot(y, x, at, 3.5)
    return np.minimum(total, 1)


def _puncta(random: np.random.Generator, y: Image, x: Image, high: float, wide: float) -> Image:
    """Five to nine puncta well inside the nucleus."""
    total = np.zeros_like(y)
    for _ in range(random.integers(5, 10)):
        angle, reach = random.uniform(0, 2 * np.pi), 0.75 * np.sqrt(random.uniform())
        at = (reach * high * np.sin(angle), reach * wide * np.cos(angle))
        total += _spot(y, x, at, 1.3)
    return np.minimum(total, 1)


def _photographed(random: np.random.Generator, scene: Image) -> NDArray[np.uint16]:
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
