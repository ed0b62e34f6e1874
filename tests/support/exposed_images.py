"""Images that differ in exposure; their cells differ more, so that a single cell says little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam import Stack
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff
from support.cell_tables import write_table

ROWS, COLUMNS, STEP = 4, 5, 24
# Centres (y, x) of the cells, and the pixels of a crop.
CENTRES = [(STEP * (r + 0.5), STEP * (c + 0.5)) for r in range(ROWS) for c in range(COLUMNS)]
CROP = (16, 16)


def exposed_field(seed: int, factor: float = 1.0) -> NDArray[np.uint16]:
    """Counts (96, 120) of 20 discs above a background of 100.

    Cells differ tenfold in brightness, exposures of images by a fifth; ``factor`` changes the
    exposure, with its photon noise.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: ROWS * STEP, : COLUMNS * STEP] + 0.5
    exposure = factor * random.uniform(0.9, 1.1)
    light = np.zeros(y.shape)
    for cy, cx in CENTRES:
        radius = random.uniform(4, 6)
        disc = 1 / (1 + np.exp((np.hypot(y - cy, x - cx) - radius) * 1.5))
        light += 400 * np.exp(random.uniform(-1.15, 1.15)) * disc
    counts: NDArray[np.uint16] = random.poisson(100 + exposure * light).astype(np.uint16)
    return counts


def exposed_crops(seeds: range, factor: float = 1.0) -> tuple[NDArray[np.uint16], NDArray[np.int_]]:
    """Crops (N, 1, 16, 16) of the cells of several images, and the number of the image of each."""
    half = CROP[0] // 2
    crops = [
        exposed_field(seed, factor)[
            None, int(y) - half : int(y) + half, int(x) - half : int(x) + half
        ]
        for seed in seeds
        for y, x in CENTRES
    ]
    return np.stack(crops), np.repeat(np.arange(len(seeds)), len(CENTRES))


def exposed_table(folder: Path, n_images: int) -> Path:
    """Table of the cells of ``n_images`` images, which are written beside it."""
    rows = []
    for i in range(n_images):
        name = f"field_{i:02d}.ome.tif"
        pixels = exposed_field(i)[None, None, None]
        write_ome_tiff(folder / name, pixels, ("DNA",), PixelSize(None, 0.5, 0.5))
        rows += [(name, x - 0.5, y - 0.5, "ab"[c % 2]) for c, (y, x) in enumerate(CENTRES)]
    image, x, y, cls = zip(*rows, strict=True)
    return write_table(folder, image=image, x=x, y=y, cls=cls)


def exposed_stack(seed: int, factor: float = 1.0) -> tuple[Stack, NDArray[np.int32]]:
    """An image as `open_stack` gives it, and a label image with a disc for each cell."""
    counts = exposed_field(seed, factor)
    y, x = np.mgrid[: counts.shape[0], : counts.shape[1]] + 0.5
    labels = np.zeros(counts.shape, np.int32)
    for number, (cy, cx) in enumerate(CENTRES, 1):
        labels[np.hypot(y - cy, x - cx) < 5] = number
    pixel = PixelSize(None, 0.5, 0.5)
    return Stack.from_array(counts[None], "CYX", ["DNA"], pixel, f"field_{seed}_{factor:g}"), labels
