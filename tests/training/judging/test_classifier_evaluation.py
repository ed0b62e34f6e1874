from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cellcam_training.fitting.trainer import train_model
from cellcam_training.judging.classifier_evaluation import _about_looks, evaluate_model
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import crops_for_model
from sklearn.metrics import balanced_accuracy_score
from support.cell_tables import QUICK

from cellcam import InputError


def test_the_metrics_are_those_of_the_calls_that_are_written(
    table: CellTable, tmp_path: Path
) -> None:
    model = train_model(table, QUICK, tmp_path / "m", "cpu")
    out = tmp_path / "evaluated"
    metrics = evaluate_model(table, model, out, ("light", "DNA")).metrics
    assert json.loads((out / "metrics.json").read_text("utf-8")) == metrics
    wanted = {"accuracy", "balanced_accuracy", "macro_f1", "ece", "per_class", "n"}
    assert wanted <= set(metrics)
    calls = pd.read_csv(out / "calls.csv")
    assert metrics["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(calls["cls"], calls["class"])
    )
    assert (out / "report.html").is_file()
    swapped = crops_for_model(table, model.spec, ("DNA", "light"))
    straight = crops_for_model(table, model.spec, ("light", "DNA"))
    np.testing.assert_array_equal(swapped.pixels, straight.pixels[:, ::-1])
    assert _about_looks(np.asarray(straight.pixels), model) == ()
    (warning,) = _about_looks(np.asarray(straight.pixels) * 16, model)
    assert "80 of 80 cells look unlike those the model was trained on" in warning
    with pytest.raises(InputError, match="wants the channels light, DNA"):
        crops_for_model(table, model.spec, ("light", "actin"))
    unknown = replace(table, classes=("G1", "M"), rows=table.rows.assign(cls="M"))
    with pytest.raises(InputError, match="the model knows G1, G2"):
        evaluate_model(unknown, model, out, ("light", "DNA"))
