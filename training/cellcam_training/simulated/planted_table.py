"""Planted cells as a cell table on disk, and models trained on such tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.stacks.writing import whole_file, write_ome_tiff
from cellcam_training.fitting.augmentation import Augmentation
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.simulated.planted_cells import CHANNELS, PlantedCells, simulate_cells
from cellcam_training.tables.cell_table import read_cell_table

TRAINING_SEED, TEST_SEED = 1, 2
TABLE, CELLS, EVIDENCE, BODIES = "cells.csv", "cells.ome.tif", "evidence", "bodies"


def write_planted(folder: Path, cells: PlantedCells) -> Path:
    """Write cells as a stack of crops, with mask images of the same name in two folders.

    Returns
    -------
    path of the cell table; ``evidence/`` holds masks of the planted evidence, ``bodies/`` masks
    of the cells
    """
    write_ome_tiff(folder / CELLS, cells.pixels[:, :, None], CHANNELS)
    for name, masks in (
        (EVIDENCE, np.logical_or.reduce(cells.evidence, axis=1)),
        (BODIES, cells.bodies),
    ):
        write_ome_tiff(folder / name / CELLS, _as_image(masks), (name,))
    table = pd.DataFrame({"image": CELLS, "index": range(len(cells.classes)), "cls": cells.classes})
    with whole_file(folder / TABLE) as temporary:
        table.to_csv(temporary, index=False)
    return folder / TABLE


def planted_model(
    folder: Path,
    difficulty: str,
    n_cells: int,
    epochs: int,
    device: str = "auto",
    progress: Progress | None = None,
    *,
    leaky: bool = False,
) -> CellModel:
    """Simulate cells and train a network on them; both are written to the folder.

    Augmentation with missing stains makes the channel shares of the model reliable.

    Parameters
    ----------
    difficulty, leaky : see `simulate_cells`
    n_cells : number of cells to train on
    """
    cells = simulate_cells(difficulty, n_cells, TRAINING_SEED, leaky=leaky)
    table = read_cell_table(write_planted(folder / "training", cells))
    recipe = Recipe(
        network="small_cnn",
        epochs=epochs,
        all_cells=False,
        augmentation=Augmentation(missing_stain=0.15),
    )
    return train_model(table, recipe, folder / "model", device, progress)


def _as_image(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Masks (N, Y, X) as a TCZYX image."""
    return masks[:, None, None].astype(np.uint8)
