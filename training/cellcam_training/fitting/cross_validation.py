"""Cross-validation: every cell is classified by a model that was trained without its group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.progress import Progress
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import fit_model
from cellcam_training.judging.predictions import LabelledPredictions, Metrics
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import CropSet

_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")


class CrossValidationSummary(TypedDict):
    """Content of ``cross_validation.json``; ``mean``, ``spread`` and ``folds`` by score."""

    n_folds: int
    mean: dict[str, float]
    spread: dict[str, float]
    folds: dict[str, list[float]]
    pooled: Metrics


@dataclass(frozen=True)
class CrossValidation:
    """Results of all folds.

    Attributes
    ----------
    folds : metrics of each fold
    pooled : predictions for all cells, each by the model of its fold
    """

    folds: list[Metrics]
    pooled: LabelledPredictions

    def summary(self, classes: tuple[str, ...]) -> CrossValidationSummary:
        """Mean and standard deviation over the folds, and the metrics of the pooled cells."""
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
    """Train a model for each fold on the cells of the other folds, as `train_model` does.

    The validation cells of that training come from the other folds too: no choice about a fold,
    not even when to stop, is made on its cells.

    Raises
    ------
    InputError
        See `cross_validation_folds`.
    """
    fold = cross_validation_folds(table, recipe, n_folds)
    truth, groups = table.truth(), group_numbers(table.rows)
    probabilities = np.zeros((len(truth), len(table.classes)))
    metrics = []
    for k in range(n_folds):
        training, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fitted = fit_model(
            table.part(training),
            crops.part(training),
            recipe,
            scratch / f"fold_{k}",
            device,
            progress and _fold_progress(progress, k, n_folds),
        )
        probabilities[test] = fitted.model.probabilities(crops.pixels[test])
        predictions = LabelledPredictions(truth[test], probabilities[test], groups[test])
        metrics.append(predictions.metrics(table.classes))
    return CrossValidation(metrics, LabelledPredictions(truth, probabilities, groups))


def cross_validation_folds(table: CellTable, recipe: Recipe, n_folds: int) -> NDArray[np.int64]:
    """Fold (N,) of every cell.

    Raises
    ------
    InputError
        If there are fewer groups, or cells of some class, than folds; if the cells outside a fold
        are of one group, so that none of them can be kept for validation.
    """
    fold, groups = fold_numbers(table.rows, n_folds, recipe.seed), group_numbers(table.rows)
    has_split = bool((table.rows["split"] != "").any())
    for k in range(n_folds):
        if not has_split and len(set(groups[fold != k])) < 2:
            raise InputError(_too_few_groups(table, fold == k, n_folds))
    return fold


def _too_few_groups(table: CellTable, fold: NDArray[np.bool_], n_folds: int) -> str:
    """Why cross-validation is refused, and what to do."""
    names = table.rows["group"].to_numpy(str)
    other = names[~fold][0]
    n = len(set(names))
    way_out = (
        f"Give --folds {n}, one for each group, or label cells of more groups."
        if n > n_folds
        else "Label cells of a third group, or leave out --folds: the training itself keeps one "
        "group for validation."
    )
    return (
        f"{n_folds} folds need more groups (plates, movies, patients) than the {n} of this table: "
        f"when {', '.join(sorted(set(names[fold])))} is judged, all other cells are of {other}, "
        f"and a network needs at least one group to learn from and one to be validated on. "
        f"{way_out}"
    )


def _fold_progress(progress: Progress, k: int, n_folds: int) -> Progress:
    """Progress of fold ``k`` as part of the progress of all folds."""

    def report(done: int, total: int, note: str = "") -> None:
        progress(k * total + done, n_folds * total, f"fold {k + 1}: {note}")

    return report
