"""Cross-validation: every cell is judged by a model that has not seen its group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellcam.progress import Progress
from cellcam_training.fitting.data_split import fold_numbers, groups_of
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import fit_model
from cellcam_training.judging.predictions import Validation
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSet

_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")


@dataclass(frozen=True)
class CrossValidation:
    """What the models of all folds say about the cells kept from them.

    Attributes
    ----------
    folds : metrics of each fold
    pooled : all cells, each judged by the model of its fold
    """

    folds: list[dict[str, Any]]
    pooled: Validation

    def summary(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Mean and spread (standard deviation) over the folds, and the metrics of all cells."""
        values = {score: [fold[score] for fold in self.folds] for score in _SCORES}
        return {
            "n_folds": len(self.folds),
            "mean": {score: float(np.mean(v)) for score, v in values.items()},
            "spread": {score: float(np.std(v, ddof=1)) for score, v in values.items()},
            "folds": values,
            "pooled": self.pooled.metrics(classes),
        }


def cross_validate(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    n_folds: int,
    scratch: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrossValidation:
    """Train a model for each fold, as `train_model` does, on the cells of the other folds.

    Their validation cells are taken from those too: nothing about a fold, not even when to
    stop, is decided on its own cells.

    Raises
    ------
    InputError
        If there are fewer groups, or cells of some class, than folds.
    """
    fold = fold_numbers(table.rows, n_folds, recipe.seed)
    truth = table.truth()
    probabilities = np.zeros((len(truth), len(table.classes)))
    metrics = []
    for k in range(n_folds):
        others, own = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        told = None if progress is None else _of_fold(progress, k, n_folds)
        fitted = fit_model(
            table.part(others), crops.part(others), recipe, scratch / f"fold_{k}", device, told
        )
        probabilities[own] = fitted.model.probabilities(crops.pixels[own])
        judged = Validation(truth[own], probabilities[own], groups_of(table.rows)[own])
        metrics.append(judged.metrics(table.classes))
    return CrossValidation(metrics, Validation(truth, probabilities, groups_of(table.rows)))


def _of_fold(progress: Progress, k: int, n_folds: int) -> Progress:
    def told(done: int, total: int, note: str = "") -> None:
        progress(k * total + done, n_folds * total, f"fold {k + 1}: {note}")

    return told
