r"""Would whole images, compared with whole training images, show what single cells cannot?

    python benchmarks/unlike_images.py ../shared/data/mitocheck_h2b/index.csv movie

An image is each group of the table. Its figure is the mean logarithm of its cells' `unlike`. The
image would be warned of if at most 5 % of the training images, each compared with the cells of
other training images, have as large a figure (a rank among n + 1; so n must be 19 or more). Each
image is held out once for each seed: from the normalisation, the reference and the ranks. Prints
the share of images warned of, unchanged and after each distortion, beside the rules of today.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import typer
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.training_cells import measure_training_cells, measured_cells
from cellcam_training.tables.cell_table import group_numbers, read_cell_table
from cellcam_training.tables.crops import read_crops
from numpy.typing import NDArray
from unlike import _distortions

from cellcam.models.appearance import Floats
from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import TrainingCells
from cellcam.models.unlike import measures_of

_FALSE_ALARMS, _FOLDS, _MANY_CELLS = 0.05, 5, 20


def main(table: Path, group_column: str, seeds: int = 2, threads: int = 2) -> None:
    """Print the figures of docs/unlike.md about whole images."""
    torch.set_num_threads(threads)
    cells = read_cell_table(table, "cls", group_column)
    pixels = read_crops(cells, Recipe().crop_settings()).pixels
    images = group_numbers(cells.rows)
    _print_exposures(pixels, images)
    for seed in range(1, seeds + 1):
        _one_seed(pixels, images, seed)


def _one_seed(pixels: NDArray[np.generic], images: NDArray[np.int64], seed: int) -> None:
    # By distortion: of each image cells, share of them flagged, and whether it would be warned of.
    seen = defaultdict(list)
    part = np.random.default_rng(seed).permutation(int(images.max()) + 1) % _FOLDS
    for fold in range(_FOLDS):
        trained = part[images] != fold
        normalisation = Normalisation.measured(pixels, trained)
        measures, groups = measured_cells(pixels[trained], normalisation, images[trained])
        known = measure_training_cells(measures, groups)
        usual = _training_figures(measures, groups, seed)
        for image in np.flatnonzero(part == fold):
            crops = pixels[images == image]
            for name, distorted in {"unchanged": crops, **_all_distortions(crops)}.items():
                of = measures_of(distorted, normalisation)
                rank = (1 + (usual >= _figure(known, of)).sum()) / (len(usual) + 1)
                flagged = (known.unlike(of) > 1).mean()
                seen[name].append((len(crops), flagged, rank <= _FALSE_ALARMS))
    print(
        f"seed {seed}: most of its cells, a fifth of its cells, whole image; {_MANY_CELLS}+ cells"
    )
    for name, rows in seen.items():
        n, flagged, warned = np.array(rows).T
        many = n >= _MANY_CELLS
        shares = (flagged > 0.5).mean(), (flagged >= 0.2).mean(), warned.mean()
        print(f"| {name} | {' | '.join(f'{s:.0%}' for s in shares)} | {warned[many].mean():.0%} |")
    print(f"of {len(n)} images; {many.sum()} with {_MANY_CELLS} cells or more", flush=True)


def _figure(known: TrainingCells, measures: Floats) -> float:
    return float(np.log(known.unlike(measures) + 1e-6).mean())


def _training_figures(measures: Floats, groups: NDArray[np.int64], seed: int) -> Floats:
    """Figure of each training image, compared with the cells of the other parts."""
    names, numbers = np.unique(groups, return_inverse=True)
    part = np.random.default_rng(seed).permutation(len(names)) % _FOLDS
    figures = np.zeros(len(names), np.float32)
    for fold in range(_FOLDS):
        others = part[numbers] != fold
        known = measure_training_cells(measures[others], groups[others])
        for i in np.flatnonzero(part == fold):
            figures[i] = _figure(known, measures[numbers == i])
    return figures


def _all_distortions(pixels: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    counts = pixels.astype(np.float32)
    low, high = np.quantile(counts, [0.01, 0.998])
    most = 65535 if pixels.dtype.itemsize > 1 else 255
    stretched = np.clip((counts - low) / (high - low), 0, 1) * most
    return {**_distortions(pixels), "stretched as a whole": stretched}


def _print_exposures(pixels: NDArray[np.generic], images: NDArray[np.int64]) -> None:
    """How bright images are: the 99th percentile of a crop above its median, median of crops."""
    flat = pixels[:, 0].reshape(len(pixels), -1)
    of_cells = np.quantile(flat, 0.99, axis=1) - np.median(flat, axis=1)
    of_images = np.array([np.median(of_cells[images == i]) for i in np.unique(images)])
    for name, values in {"cells": of_cells, "images": of_images}.items():
        print(name, np.quantile(values, [0, 0.01, 0.05, 0.5, 0.95, 0.99, 1]).round())
    low, high = of_images.min(), of_images.max()
    half, twice = (of_images / 2 >= low).sum(), (of_images * 2 <= high).sum()
    print(f"of {len(of_images)} images, half and twice within their range: {half}, {twice}")
    gains = [
        255 / np.ptp(np.quantile(pixels[images == i], [0.01, 0.998])) for i in np.unique(images)
    ]
    print("8 bit: factor of stretching as a whole", np.quantile(gains, [0, 0.5, 1]).round(2))


if __name__ == "__main__":
    typer.run(main)
