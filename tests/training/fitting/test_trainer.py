from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import support
import torch
from cellcam_training.fitting import training_loop
from cellcam_training.fitting.augmentation import Augmentation
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.fitting.trainer import fit_model, train_model
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSettings, read_crops
from sklearn.metrics import log_loss
from support.cell_tables import QUICK

from cellcam import load_model
from cellcam.errors import UsageError
from cellcam.models.bundle import read_spec
from cellcam.models.model import CellModel

NO_AUGMENTATION = Augmentation(
    flips=False, rotation_degrees=0, scaling=0, shift=0, brightness=0, noise=0
)


def test_total_intensity_is_learnt(table: CellTable, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    model = train_model(table, QUICK, tmp_path / "m", "cpu", lambda *call: calls.append(call))
    assert model.spec.training["validation"]["balanced_accuracy"] > 0.85
    epochs = [(done, note) for done, total, note in calls if total]
    assert epochs[-1][0] <= 2 * 8  # two networks, one after the other
    assert all(note.startswith("epochs: network") for _, note in epochs)
    assert [note for _, total, note in calls if not total] == [
        "measuring what training cells look like",
        "measuring the error of the maps",
        "writing the report",
    ]
    loaded = load_model(tmp_path / "m", "cpu")
    assert loaded.spec == model.spec
    assert loaded.spec.channels == ("light", "DNA")
    assert loaded.spec.crop_size == (12, 12)


def test_the_same_seed_gives_the_same_weights(table: CellTable, tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"epochs": 2})
    first = train_model(table, recipe, tmp_path / "a", "cpu")
    second = train_model(table, recipe, tmp_path / "b", "cpu")
    assert first.spec.weights_sha256 == second.spec.weights_sha256


@pytest.mark.fault(
    "19 a training killed in the middle of an epoch", "the same command ends with the same weights"
)
@pytest.mark.parametrize("batches", [18, 38])  # in the middle of an epoch of either network
def test_a_killed_training_resumes_and_ends_with_the_same_weights(
    table: CellTable, tmp_path: Path, batches: int
) -> None:
    # All in processes of their own: tests of the window change this one's number of threads, and
    # sums of two threads differ in the last bit from those of one.
    whole = trained(tmp_path, "whole")
    assert trained(tmp_path, "killed", batches).returncode == -signal.SIGKILL
    assert (tmp_path / "killed.training" / "final" / "judged" / "checkpoint.pt").is_file()
    rest = trained(tmp_path, "killed")
    assert int(rest.stdout) < int(whole.stdout) - 3  # epochs
    expected, seen = (read_spec(tmp_path / name) for name in ("whole", "killed"))
    assert seen.weights_sha256 == expected.weights_sha256
    assert seen.temperature == expected.temperature
    assert not (tmp_path / "killed.training").exists()


def trained(folder: Path, out: str, batches: int = 0) -> subprocess.CompletedProcess[str]:
    """Train in a process, which is killed after so many batches; it prints its epochs."""
    return subprocess.run(
        [sys.executable, "-c", TRAINED, folder / "cells.csv", folder / out, str(batches)],
        cwd=Path(support.__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


TRAINED = """
import os, signal, sys
from pathlib import Path
from support.cell_tables import QUICK
from cellcam_training.fitting import training_loop
from cellcam_training.fitting.trainer import train_model
from cellcam_training.tables.cell_table import read_cell_table

batches, augmented = [], training_loop.augmented

def until_killed(*arguments):
    batches.append(1)
    if len(batches) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return augmented(*arguments)

training_loop.augmented = until_killed
epochs = []
report = lambda *call: epochs.append(call[0])
train_model(read_cell_table(Path(sys.argv[1])), QUICK, Path(sys.argv[2]), "cpu", report)
print(len(epochs))
"""


def test_the_final_network_is_trained_on_all_cells_and_the_validated_network_is_not(
    table: CellTable, tmp_path: Path
) -> None:
    crops = read_crops(table, QUICK.crop_settings())
    fitted = fit_model(table, crops, QUICK, tmp_path / "s", "cpu")
    assert fitted.on_all_cells
    # Only the final network's errors are measured.
    measured = {"error_factor": fitted.model.spec.error_factor}
    assert fitted.model.spec == fitted.judges[0].spec.model_copy(update=measured)
    final, validated = (m.network.state_dict() for m in (fitted.model, *fitted.judges))
    assert not all(torch.equal(final[name], validated[name]) for name in final)
    split = replace(table, rows=table.rows.assign(split=np.where(fitted.held_out, "val", "train")))
    without_final = QUICK.model_copy(update={"all_cells": False})
    for cells, recipe in [(split, QUICK), (table, without_final)]:
        alone = fit_model(cells, crops, recipe, tmp_path / "s2", "cpu")
        assert alone.model is alone.judges[0]
        weights = alone.model.network.state_dict()
        assert all(torch.equal(weights[name], validated[name]) for name in weights)


@pytest.mark.parametrize("patience", [None, 3])
def test_the_last_weights_are_used_or_with_patience_the_best(
    table: CellTable, tmp_path: Path, patience: int | None
) -> None:
    random_classes = table.rows.assign(cls=np.random.default_rng(0).permutation(table.rows["cls"]))
    table = replace(table, rows=random_classes)
    recipe = QUICK.model_copy(
        update={
            "epochs": 12,
            "patience": patience,
            "all_cells": False,
            "augmentation": NO_AUGMENTATION,
        }
    )
    crops = read_crops(table, recipe.crop_settings())
    fitted = fit_model(table, crops, recipe, tmp_path / "s", "cpu")
    losses = [row["validation_loss"] for row in fitted.history]
    best = int(np.argmin(losses))
    probabilities = fitted.model.probabilities(crops.pixels[fitted.held_out])
    loss = log_loss(table.truth()[fitted.held_out], probabilities)
    assert best < 8  # nothing can be learnt
    assert len(losses) == (12 if patience is None else best + 1 + patience)
    assert loss == pytest.approx(losses[-1] if patience is None else losses[best], abs=1e-5)
    assert abs(losses[-1] - losses[best]) > 1e-4


def test_both_networks_have_the_same_schedule(
    table: CellTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 cells train the validated network, 80 the final network.
    monkeypatch.setattr("cellcam_training.fitting.recipe._FOR_SMOOTHING", 70)
    monkeypatch.setattr("cellcam_training.fitting.recipe._FOR_LARGE_BATCHES", 70)
    used = []
    fit = training_loop.fit

    def recorded(model: CellModel, recipe: Recipe, data: TrainingData, *rest: Any) -> Any:
        used.append(schedule_of(recipe, int((~data.validation).sum())))
        return fit(model, recipe, data, *rest)

    monkeypatch.setattr("cellcam_training.fitting.trainer.fit", recorded)
    crops = read_crops(table, CropSettings())
    fit_model(table, crops, Recipe(epochs=1), tmp_path / "s", "cpu")
    assert used[0] == used[1] == (1, None, 32, 0.0)


@pytest.mark.fault("23 a checkpoint of other cells", "not resumed")
def test_a_checkpoint_of_other_cells_is_not_resumed(table: CellTable, tmp_path: Path) -> None:
    left = tmp_path / "m.training" / "final"
    left.mkdir(parents=True)
    (left / "fingerprint.txt").write_text("of other cells")
    (left / "checkpoint.pt").write_bytes(b"of another network")
    train_model(table, QUICK.model_copy(update={"epochs": 1}), tmp_path / "m", "cpu")
    assert not left.parent.exists()


def test_the_split_and_the_metrics_of_all_epochs_are_in_the_model_folder(
    table: CellTable, tmp_path: Path
) -> None:
    model = train_model(table, QUICK.model_copy(update={"epochs": 3}), tmp_path / "m", "cpu")
    split = pd.read_csv(tmp_path / "m" / "docs" / "split.csv")
    assert (split["split"] == "val").sum() == model.spec.training["validation"]["n"]
    metrics = pd.read_csv(tmp_path / "m" / "docs" / "metrics.csv")
    assert metrics["epoch"].tolist() == [1, 2, 3]
    assert metrics["validation_loss"].notna().all()


def test_crops_too_small_for_the_network_are_refused(table: CellTable, tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"network": "densenet121"})
    with pytest.raises(UsageError, match="too small"):
        train_model(table, recipe, tmp_path / "m", "cpu")
    assert not (tmp_path / "m").exists()
