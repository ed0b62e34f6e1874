"""Validation of all cells of a small table, each by a network that had not seen it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cellcam_training.fitting.calibration import cross_fitted, fitted_temperature
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import FittedModel, fit_model, train_model
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSet, read_crops
from pydantic import ValidationError
from support.cell_tables import QUICK

from cellcam import InputError
from cellcam.models.bundle import read_spec

FOLDS = QUICK.model_copy(update={"validation_folds": 3, "epochs": 4})


@pytest.fixture
def crops(table: CellTable) -> CropSet:
    return read_crops(table, FOLDS.crop_settings())


@pytest.fixture
def fitted(table: CellTable, crops: CropSet, tmp_path: Path) -> FittedModel:
    return fit_model(table, crops, FOLDS, tmp_path / "scratch", "cpu")


def test_each_judge_is_the_network_of_a_table_without_its_cells(
    table: CellTable, crops: CropSet, fitted: FittedModel, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(fitted.judge_of, fold_numbers(table.rows, 3, FOLDS.seed))
    without = np.where(fitted.judge_of == 1, "val", "train")
    split = replace(table, rows=table.rows.assign(split=without))
    one_part = FOLDS.model_copy(update={"validation_folds": None})
    alone = fit_model(split, crops, one_part, tmp_path / "alone", "cpu").model
    pixels = crops.pixels[:5]
    np.testing.assert_array_equal(fitted.judges[1].logits(pixels), alone.logits(pixels))


def test_calibration_comes_from_the_judges_of_all_cells(
    table: CellTable, crops: CropSet, fitted: FittedModel
) -> None:
    of_judges = [judge.logits(crops.pixels).numpy() for judge in fitted.judges]
    logits = np.stack([of_judges[judge][row] for row, judge in enumerate(fitted.judge_of)])
    truth = table.truth()
    assert fitted.model.spec.temperature == pytest.approx(fitted_temperature(logits, truth))
    expected = cross_fitted(logits, truth, fitted.predictions.groups)
    np.testing.assert_allclose(fitted.predictions.probabilities, expected)


def test_the_model_says_how_it_was_judged(table: CellTable, tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    report = lambda done, total, note="": reported.append((done, total))  # noqa: E731
    train_model(table, FOLDS, tmp_path / "model", "cpu", report)
    training = read_spec(tmp_path / "model").training
    assert training["validation"]["n"] == 80
    assert training["validation_networks"] == 3
    split = pd.read_csv(tmp_path / "model" / "docs" / "split.csv")["split"]
    assert split.value_counts().to_dict() == {"fold 1": 27, "fold 2": 27, "fold 3": 26}
    epochs = [(done, total) for done, total in reported if total]
    assert epochs[-1] == (16, 16)  # four networks of four epochs
    assert [done for done, _ in epochs] == sorted(done for done, _ in epochs)


def test_a_table_with_a_split_is_refused(table: CellTable, crops: CropSet, tmp_path: Path) -> None:
    split = replace(table, rows=table.rows.assign(split=["val", "train"] * 40))
    with pytest.raises(InputError, match="Leave out one"):
        fit_model(split, crops, FOLDS, tmp_path, "cpu")


def test_patience_cannot_choose_an_epoch_by_all_cells() -> None:
    with pytest.raises(ValidationError, match="leave out patience or validation_folds"):
        Recipe(validation_folds=3, patience=5)
