r"""How many labelled cells are enough: accuracy on unseen cells, and time, for few and for all.

    python benchmarks/learning_curve.py ../shared/data/jurkat_ifc/index.csv \
        --class-column phase4 --per-class 20,50,100,200,all

A part of the cells, whole groups where there are groups, is set aside once and judges every
training; each training takes so many cells of each class from the rest, with the default recipe.
"""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.fitting.recipe import changed_recipe, read_recipe
from cellcam_training.fitting.trainer import fit_model
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import read_crops
from numpy.typing import NDArray

from cellcam.evaluate.classification import classification_metrics


def main(
    table: Path,
    class_column: str = "cls",
    group_column: str | None = None,
    per_class: str = "20,50,100,200,all",
    folds: Annotated[int, typer.Option(help="One of so many parts judges.")] = 4,
    fold: Annotated[int, typer.Option(help="Which one.")] = 0,
    recipe: Annotated[Path | None, typer.Option(help="File, or a name such as frozen.")] = None,
    backbone: Annotated[Path | None, typer.Option(help="Of a frozen training.")] = None,
    network: str | None = None,
    device: str = "cpu",
    threads: int = 2,
    seed: int = 0,
    draws: Annotated[int, typer.Option(help="Trainings, each on other cells.")] = 1,
) -> None:
    """Print balanced accuracy, calibration error and seconds for each number of cells."""
    torch.set_num_threads(threads)
    chosen = changed_recipe(read_recipe(recipe), backbone=backbone, network=network)
    cells = read_cell_table(table, class_column, group_column)
    crops = read_crops(cells, chosen.crop_settings())
    judging = fold_numbers(cells.rows, folds, seed) == fold
    truth = cells.truth()
    print("per class   cells  judged by  balanced  accuracy    ECE  epochs  seconds", flush=True)
    for wanted, draw in product(per_class.split(","), range(seed, seed + draws)):
        rows = _sample(truth, ~judging, None if wanted == "all" else int(wanted), draw)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            fitted = fit_model(cells.part(rows), crops.part(rows), chosen, Path(scratch), device)
        seconds = time.perf_counter() - started
        probabilities = fitted.model.probabilities(crops.pixels[judging])
        m = classification_metrics(truth[judging], probabilities, cells.classes)
        print(
            f"{wanted:>9} {len(rows):7} {judging.sum():10} {m['balanced_accuracy']:9.3f} "
            f"{m['accuracy']:9.3f} {m['ece']:6.3f} {len(fitted.history):7} {seconds:8.0f}",
            flush=True,
        )


def _sample(
    truth: NDArray[np.int64], allowed: NDArray[np.bool_], n: int | None, seed: int
) -> NDArray[np.int64]:
    """Rows of ``n`` allowed cells of each class, or of all."""
    random = np.random.default_rng(seed)
    parts = [
        random.permutation(np.flatnonzero(allowed & (truth == k)))[:n] for k in np.unique(truth)
    ]
    return np.sort(np.concatenate(parts))


if __name__ == "__main__":
    typer.run(main)
