r"""Does CellCam notice whole images that its model cannot know?

    python benchmarks/unlike_images.py ../shared/data/mitocheck_h2b/index.csv --group-column movie
    python benchmarks/unlike_images.py ../shared/data/fov_boxes/boxes.csv --only "image=bccd/*" \
        --crop-size 104 --seeds 1

An image is an image of the table, or with ``--group-column`` each of its groups. Each image is
held out once for each seed. Prints the share of images warned of, unchanged and after each
distortion: because most of its cells, or a fifth of them, are flagged; because of the median of
all its cells (`KnownImages`); because of gaps between its counts. Then how often unchanged images
would be warned of if some of their cells were not cells like those of the training.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import typer
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.training_cells import measure_training_cells, measured_cells
from cellcam_training.fitting.training_images import with_training_images
from cellcam_training.tables.cell_table import group_numbers, read_cell_table
from cellcam_training.tables.crops import read_crops
from numpy.typing import NDArray
from unlike import _distortions

from cellcam.models.missing_counts import missing_counts
from cellcam.models.normalisation import Normalisation
from cellcam.models.spec import KnownImages
from cellcam.models.unlike import measures_of

_FOLDS = 5
_DEBRIS = 0.1, 0.2, 0.3


def main(
    table: Path,
    group_column: str | None = None,
    only: list[str] = [],  # noqa: B006 - typer wants a list
    crop_size: int | None = None,
    seeds: int = 2,
    threads: int = 2,
) -> None:
    """Print the figures of docs/unlike.md about whole images."""
    torch.set_num_threads(threads)
    cells = read_cell_table(table, "cls", group_column, only)
    settings = Recipe().crop_settings()
    if crop_size:
        settings = replace(settings, crop_size=(crop_size, crop_size))
    pixels = read_crops(cells, settings).pixels
    images = np.unique(cells.rows["image"].to_numpy(str), return_inverse=True)[1]
    if group_column:
        images = group_numbers(cells.rows)
    _print_exposures(pixels, images)
    for seed in range(1, seeds + 1):
        _one_seed(pixels, images, seed)


def _one_seed(pixels: NDArray[np.generic], images: NDArray[np.int64], seed: int) -> None:
    # By distortion: of each image, share of its cells flagged, and whether it is warned of.
    seen = defaultdict(list)
    part = np.random.default_rng(seed).permutation(int(images.max()) + 1) % _FOLDS
    for fold in range(_FOLDS):
        trained = part[images] != fold
        normalisation = Normalisation.measured(pixels, trained)
        measures, groups = measured_cells(pixels[trained], normalisation, images[trained])
        known = with_training_images(
            measure_training_cells(measures, groups),
            normalisation,
            pixels[trained],
            images[trained],
            images[trained],
        )
        assert known.images is not None
        for image in np.flatnonzero(part == fold):
            crops = pixels[images == image]
            if len(crops) < known.images.fewest_cells:
                continue
            images_of = {"unchanged": crops, **_all_distortions(crops)}
            values = {
                name: known.unlike(measures_of(distorted, normalisation))
                for name, distorted in images_of.items()
            }
            for name, of in values.items():
                warned = known.images.is_unlike(float(np.median(of)))
                stretched = is_stretched(images_of[name], known.images)
                seen[name].append(((of > 1).mean(), warned, stretched))
            for share in _DEBRIS:
                debris = np.arange(len(crops)) < round(share * len(crops))
                of = np.where(debris, values["magnified 0.5 x"], values["unchanged"])
                warned = known.images.is_unlike(float(np.median(of)))
                seen[f"unchanged, {share:.0%} magnified 0.5 x"].append(
                    ((of > 1).mean(), warned, False)
                )
        print(f"fold {fold}: {len(known.images.values)} training images", flush=True)
    print(f"seed {seed}: most of its cells, a fifth, median of its cells, gaps, either")
    for name, rows in seen.items():
        flagged, warned, gaps = np.array(rows).T
        either = np.maximum(warned, gaps).mean()
        shares = (flagged > 0.5).mean(), (flagged >= 0.2).mean(), warned.mean(), gaps.mean(), either
        print(f"| {name} | {' | '.join(f'{s:.1%}' for s in shares)} |")
    print(f"of {len(rows)} images", flush=True)


def _all_distortions(pixels: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    counts = pixels.astype(np.float32)
    low, high = np.quantile(counts, [0.01, 0.998])
    most = 65535 if pixels.dtype.itemsize > 1 else 255
    stretched = np.clip((counts - low) / (high - low), 0, 1) * most
    whole = (counts - counts.min()) / np.ptp(counts) * most
    return {
        **_distortions(pixels),
        "stretched as a whole": np.round(stretched),
        "stretched from darkest to brightest": np.round(whole),
    }


def is_stretched(crops: NDArray[np.generic], known: KnownImages) -> bool:
    """Whether a note says so, see `stretched_notes`."""
    return bool((missing_counts(crops) > np.add(known.missing_counts, 0.02)).any())


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
