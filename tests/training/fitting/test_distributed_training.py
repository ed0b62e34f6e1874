from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cellcam_training.fitting.recipe import read_recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.tables.cell_table import CellTable

from cellcam import load_model


def test_two_processes_train_a_model_as_accurate_as_a_single_process(
    table: CellTable, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("{epochs: 8, batch_size: 16, seed: 3}")
    alone = train_model(table, read_recipe(tmp_path / "recipe.yaml"), tmp_path / "alone", "cpu")
    started = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "cellcam", "train", tmp_path / "cells.csv", "--out", tmp_path / "both",
         "--recipe", tmp_path / "recipe.yaml", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    reported = json.loads(started.stdout)  # only the first process prints
    both = load_model(tmp_path / "both", "cpu")
    assert reported["validation"] == both.spec.training["validation"]
    assert both.spec.training["epochs"] <= 8
    accuracies = [m.spec.training["validation"]["balanced_accuracy"] for m in (alone, both)]
    assert accuracies[1] > max(0.85, accuracies[0] - 0.1)
    assert not (tmp_path / "both.training").exists()
