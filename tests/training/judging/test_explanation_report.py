from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from cellcam_training.judging.explanation_report import evaluate_explanations
from cellcam_training.simulated.planted_cells import simulate_cells
from cellcam_training.simulated.planted_table import write_planted
from cellcam_training.tables.cell_table import read_cell_table

from cellcam import load_model


def test_explanations_of_a_table_are_evaluated_with_its_masks(
    benchmark: Path, tmp_path: Path
) -> None:
    cells = simulate_cells("plain", 12, 11)
    table = read_cell_table(write_planted(tmp_path / "cells", cells), to_train=False)
    model = load_model(benchmark / "plain" / "model")
    said: list[str] = []
    metrics = evaluate_explanations(
        table, model, tmp_path, masks=tmp_path / "cells" / "evidence",
        progress=lambda done, total, note="": said.append(note),
    )  # fmt: skip
    by_cell = pd.read_csv(tmp_path / "explanations.csv")
    assert set(by_cell["method"]) == set(metrics.costs["method"])
    assert len(by_cell) == 12 * len(metrics.costs)
    with_evidence = cells.evidence.any((1, 2, 3))
    of_one_method = by_cell[by_cell["method"] == by_cell["method"][0]]
    np.testing.assert_array_equal(of_one_method["ebpg"].notna(), with_evidence)
    assert (tmp_path / "explanations.html").is_file()
    methods = metrics.costs["method"].tolist()
    checks = ["means, intervals and tests", "sanity checks", "drawing pictures"]
    assert said == ["reading cells", *methods, *checks]
