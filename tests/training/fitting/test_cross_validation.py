from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cellcam_training.fitting.cross_validation import cross_validate
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import read_crops
from support.cell_tables import QUICK


def test_cross_validation_keeps_groups_together(table: CellTable, tmp_path: Path) -> None:
    grouped = replace(table, rows=table.rows.assign(group=np.arange(80) // 4))
    fold = fold_numbers(grouped.rows, 4, 0)
    assert all(len(set(fold[grouped.rows["group"] == g])) == 1 for g in range(20))
    crops = read_crops(table, QUICK.crop_settings())
    validated = cross_validate(grouped, crops, QUICK, 4, tmp_path / "s", "cpu")
    summary = validated.summary(table.classes)
    assert summary["pooled"]["n"] == 80
    assert len(summary["folds"]["accuracy"]) == 4
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(summary["folds"]["accuracy"]))
    assert summary["mean"]["balanced_accuracy"] > 0.8
