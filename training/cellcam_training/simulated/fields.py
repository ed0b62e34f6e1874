"""Simulated fields of view, with known evidence for the class of each cell.

Three stains (DNA, tubulin, a marker), five classes. Everything but the evidence (size, shape,
brightness, background, focus) has the same distribution in all classes, so that only the
evidence distinguishes them:

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

from cellcam_training.simulated.camera import photographed
from cellcam_training.simulated.cell_structures import (
    HALF,
    Image,
    asters,
    micronucleus,
    puncta,
    rotated_coordinates,
    soft_ellipse,
    texture,
)

CHANNELS = ("DNA", "tubulin", "marker")
CLASSES = ("interphase", "mitotic", "micronucleus", "asters", "foci")
EVIDENCE_CHANNEL = dict(zip(CLASSES, ("", "DNA", "DNA", "tubulin", "marker"), strict=True))
PIXEL_SIZE_UM = (1.5, 0.325, 0.325)


@dataclass(frozen=True)
class SimulatedField:
    """A simulated field of view and its ground truth.

    Attributes
    ----------
    pixels : (C, Z, Y, X) uint16 counts, channels as in `CHANNELS`
    labels : (Y, X) uint16 nuclei; 0 is background
    evidence : (Y, X) uint16, label of the cell that the evidence in a pixel belongs to, else 0
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
    """A cell drawn into a patch: stains (C, P, P), nucleus and evidence masks (P, P)."""

    stains: Image
    nucleus: NDArray[np.bool_]
    evidence: NDArray[np.bool_]


def simulate_field(
    seed: int, size: int = 448, n_cells: int = 42, n_planes: int = 5
) -> SimulatedField:
    """Simulate a field of scattered and touching cells.

    Parameters
    ----------
    seed : the same seed gives the same field
    size : pixels along y and x, of 0.325 um
    n_cells : at most; fewer if they do not fit
    n_planes : along z, 1.5 um apart
    """
    random = np.random.default_rng(seed)
    centres = _scattered(random, size, n_cells)
    classes = [CLASSES[i % len(CLASSES)] for i in random.permutation(len(centres))]
    scene = np.zeros((len(CHANNELS), n_planes, size + 2 * HALF, size + 2 * HALF), np.float32)
    labels = np.zeros(scene.shape[-2:], np.uint16)
    evidence = np.zeros_like(labels)
    for number, (centre, name) in enumerate(zip(centres, classes, strict=True), start=1):
        cell = _draw_cell(random, name)
        y, x = (round(c) for c in centre)
        window = (slice(y, y + 2 * HALF), slice(x, x + 2 * HALF))
        focus = random.uniform(0.25, 0.75) * (n_planes - 1)
        for plane in range(n_planes):
            sigma = 1.0 + 0.9 * abs(plane - focus)
            scene[(slice(None), plane, *window)] += gaussian_filter(cell.stains, (0, sigma, sigma))
        labels[window][cell.nucleus] = number
        evidence[window][cell.evidence] = number
    inner = (..., slice(HALF, -HALF), slice(HALF, -HALF))
    pixels = photographed(random, scene[inner])
    return SimulatedField(pixels, labels[inner], evidence[inner], classes, centres)


def _scattered(random: np.random.Generator, size: int, n_cells: int) -> NDArray[np.float64]:
    """Centres (N, 2) at least a nucleus apart; every fourth cell touches an earlier cell."""
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
        distances = [np.hypot(*(candidate - other)) for other in centres]
        inside = (candidate > 14).all() and (candidate < size - 14).all()
        if inside and min(distances, default=np.inf) >= (26 if touching else 44):
            centres.append(candidate)
    return np.array(centres)


def _draw_cell(random: np.random.Generator, name: str) -> _Cell:
    """Draw a cell of the class ``name``."""
    y, x = rotated_coordinates(random)
    wide, high = random.uniform(12.5, 15.5), random.uniform(10, 12.5)
    nucleus = soft_ellipse(y, x, high, wide)
    body = soft_ellipse(y, x, high * 1.9, wide * 1.75)
    dna = nucleus * random.uniform(300, 650) * texture(random, 2.0, 0.25)
    tubulin = body * (1 - 0.6 * nucleus) * random.uniform(150, 400) * texture(random, 1.2, 0.5)
    marker = (body * random.uniform(20, 120) + nucleus * random.uniform(20, 200)) * texture(
        random, 3.0, 0.2
    )
    evidence = np.zeros(nucleus.shape, bool)
    if name == "mitotic":
        plate = soft_ellipse(y, x, random.uniform(3, 4), random.uniform(10, 12.5))
        dna = plate * random.uniform(700, 1300) * texture(random, 1.5, 0.2)
        nucleus, evidence = plate, plate > 0.4
    elif name == "micronucleus":
        disc = micronucleus(random, y, x, high, wide)
        dna += disc * random.uniform(250, 500)
        evidence = disc > 0.4
    elif name == "asters":
        stars = asters(random, y, x, high, wide)
        tubulin += stars * random.uniform(500, 900)
        evidence = stars > 0.25
    elif name == "foci":
        dots = puncta(random, y, x, high, wide)
        marker += dots * random.uniform(400, 900)
        evidence = dots > 0.3
    return _Cell(np.stack([dna, tubulin, marker]).astype(np.float32), nucleus > 0.5, evidence)
