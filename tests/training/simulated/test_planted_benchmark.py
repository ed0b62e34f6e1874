from __future__ import annotations

import json
from pathlib import Path

import pytest
from cellcam_training.simulated.planted_benchmark import run_planted

from cellcam import load_model
from cellcam.errors import UsageError


def test_a_network_that_calls_no_cell_correctly_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train it on more cells"):
        run_planted(tmp_path, n_training=20, n_test=4, epochs=1, device="cpu")


def test_the_benchmark_writes_cells_masks_models_and_results(benchmark: Path) -> None:
    found = json.loads((benchmark / "planted.json").read_text("utf-8"))
    difficulties = [result["difficulty"] for result in found["difficulties"]]
    assert difficulties == ["plain", "confounded"]
    assert 0 <= found["confounder"]["told_apart"] <= 1
    for name in difficulties:
        assert (benchmark / name / "test" / "evidence" / "cells.ome.tif").is_file()
        assert load_model(benchmark / name / "model").spec.classes
