"""Single simulated cells whose class evidence is known in place and in channel.

A benchmark for explanations with four difficulties. Every cell has a nucleus (DNA), a body
(tubulin) and a diffuse marker, with the same distributions in all classes; only the planted
evidence distinguishes the classes:

==========  =================================  ====================================================
difficulty  classes                            planted evidence
==========  =================================  ====================================================
plain       none, micronucleus, asters, foci   micronucleus (DNA), asters (tubulin), puncta (marker)
small       none, dot_DNA, dot_tubulin,        one dot of about twenty pixels, anywhere in the cell,
            dot_marker                         in one stain
shared      none, asters, foci, both           asters (tubulin), puncta (marker), or both: classes
                                               share their evidence
confounded  none, asters, foci                 as above; and a bright stripe (DNA) along one edge
                                               of the crop, like a stain border or the plate edge
==========  =================================  ====================================================

A third of the cells of every class have the stripe. In the *leaky* version all cells of the class
foci have it and no others, and half of them have no foci: the stripe predicts the class.
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
    spot,
    texture,
)

CHANNELS = ("DNA", "tubulin", "marker")
CROP = 48  # pixels along y and x
LEAKING_CLASS = "foci"
DIFFICULTIES = {
    "plain": ("none", "micronucleus", "asters", "foci"),
    "small": ("none", "dot_DNA", "dot_tubulin", "dot_marker"),
    "shared": ("none", "asters", "foci", "both"),
    "confounded": ("none", "asters", "foci"),
}

_STRIPE = 5  # pixels
_STRIPE_SHARE, _EVIDENCE_SHARE = 1 / 3, 1 / 2


@dataclass(frozen=True, eq=False)
class PlantedCells:
    """Simulated cells and their ground truth.

    Attributes
    ----------
    pixels : (N, C, Y, X) uint16 counts, channels as in `CHANNELS`
    classes : N names
    evidence : (N, C, Y, X) bool, planted evidence in each channel, without the stripe
    bodies : (N, Y, X) bool, the cells
    stripes : (N, Y, X) bool, the stripe (confounder)
    """

    pixels: NDArray[np.uint16]
    classes: Sequence[str]
    evidence: NDArray[np.bool_]
    bodies: NDArray[np.bool_]
    stripes: NDArray[np.bool_]


def simulate_cells(
    difficulty: str, n_cells: int, seed: int, *, leaky: bool = False
) -> PlantedCells:
    """Simulate cells of one difficulty, equally many of each class.

    Parameters
    ----------
    difficulty : one of `DIFFICULTIES`
    n_cells : total number
    seed : the same seed gives the same cells
    leaky : for ``confounded``: the stripe predicts the class

    Raises
    ------
    KeyError
        If the difficulty is unknown.
    """
    names = DIFFICULTIES[difficulty]
    random = np.random.default_rng(seed)
    classes = [names[i % len(names)] for i in random.permutation(n_cells)]
    pixels = np.empty((n_cells, len(CHANNELS), CROP, CROP), np.uint16)
    evidence = np.zeros(pixels.shape, bool)
    bodies, stripes = np.zeros((2, n_cells, CROP, CROP), bool)
    for i, name in enumerate(classes):
        leaks = leaky and name == LEAKING_CLASS
        planted = "none" if leaks and random.uniform() > _EVIDENCE_SHARE else name
        scene, masks, body = _draw(random, planted)
        if leaks or (difficulty == "confounded" and not leaky and random.uniform() < _STRIPE_SHARE):
            stripes[i] = _add_stripe(random, scene)
        pixels[i] = photographed(random, scene[:, None])[:, 0]
        evidence[i], bodies[i] = masks, body
    return PlantedCells(pixels, classes, evidence, bodies, stripes)


def with_stripes(cells: PlantedCells, seed: int) -> PlantedCells:
    """The same cells with a stripe added to each, also to those that have one already."""
    random = np.random.default_rng(seed)
    pixels, stripes = cells.pixels.copy(), cells.stripes.copy()
    for i in range(len(pixels)):
        light = np.zeros((len(CHANNELS), CROP, CROP), np.float32)
        stripes[i] |= _add_stripe(random, light)
        pixels[i] += random.poisson(light).astype(np.uint16)
    return PlantedCells(pixels, cells.classes, cells.evidence, cells.bodies, stripes)


def _draw(
    random: np.random.Generator, name: str
) -> tuple[Image, NDArray[np.bool_], NDArray[np.bool_]]:
    """Light of a cell (C, Y, X), its evidence (C, Y, X) and its body (Y, X)."""
    y, x = rotated_coordinates(random)
    wide, high = random.uniform(8.5, 11), random.uniform(7, 9)
    nucleus, body = soft_ellipse(y, x, high, wide), soft_ellipse(y, x, high * 1.75, wide * 1.6)
    dna = nucleus * random.uniform(300, 650) * texture(random, 2.0, 0.25)
    tubulin = body * (1 - 0.6 * nucleus) * random.uniform(150, 400) * texture(random, 1.2, 0.4)
    marker = body * random.uniform(20, 120) + nucleus * random.uniform(20, 200)
    stains = {"DNA": dna, "tubulin": tubulin, "marker": marker * texture(random, 3.0, 0.2)}
    masks = {stain: np.zeros(body.shape, bool) for stain in CHANNELS}
    for stain, shape, brightness in _evidence(random, name, y, x, high, wide):
        stains[stain] = stains[stain] + shape * brightness
        masks[stain] |= shape > 0.3
    middle = (
        ...,
        slice(HALF - CROP // 2, HALF + CROP // 2),
        slice(HALF - CROP // 2, HALF + CROP // 2),
    )
    light = gaussian_filter(np.stack([stains[c] for c in CHANNELS]), (0, 0.8, 0.8))
    evidence = np.stack([masks[c] for c in CHANNELS])
    # A micronucleus lies outside the body but belongs to the cell.
    return (
        light[middle].astype(np.float32),
        evidence[middle],
        ((body > 0.5) | evidence.any(0))[middle],
    )


def _evidence(
    random: np.random.Generator, name: str, y: Image, x: Image, high: float, wide: float
) -> list[tuple[str, Image, float]]:
    """Evidence of a class: stain, shape with values from 0 to 1, brightness."""
    planted = []
    if name == "micronucleus":
        shape = micronucleus(random, y, x, high * 0.85, wide * 0.85)
        planted.append(("DNA", shape, random.uniform(300, 550)))
    if name in ("asters", "both"):
        shape = asters(random, y, x, high - 1, wide - 1)
        planted.append(("tubulin", shape, random.uniform(500, 900)))
    if name in ("foci", "both"):
        planted.append(("marker", puncta(random, y, x, high, wide), random.uniform(400, 900)))
    if name.startswith("dot_"):
        angle, reach = random.uniform(0, 2 * np.pi), 1.3 * np.sqrt(random.uniform())
        at = (reach * high * np.sin(angle), reach * wide * np.cos(angle))
        planted.append((name.removeprefix("dot_"), spot(y, x, at, 1.6), random.uniform(900, 1500)))
    return planted


def _add_stripe(random: np.random.Generator, scene: Image) -> NDArray[np.bool_]:
    """Add light along one edge to the DNA channel of a scene (C, Y, X); return its mask (Y, X)."""
    mask = np.zeros(scene.shape[1:], bool)
    mask[:_STRIPE] = True
    turns = int(random.integers(4))
    mask = np.rot90(mask, turns)
    scene[0] += mask * random.uniform(300, 600) * gaussian_filter(mask.astype(np.float32), 1.0)
    return mask
