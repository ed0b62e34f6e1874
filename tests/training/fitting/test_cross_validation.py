from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cellcam_training import commands
from cellcam_training.fitting.cross_validation import cross_validate, cross_validation_folds
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import read_crops
from support.cell_tables import QUICK, write_table

from cellcam import InputError


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


@pytest.mark.parametrize(
    ("n_groups", "n_folds", "way_out"),
    [(2, 2, "Label cells of a third group, or leave out --folds"), (3, 2, "Give --folds 3")],
)
def test_folds_that_leave_one_group_to_train_on_are_refused(
    table: CellTable, n_groups: int, n_folds: int, way_out: str
) -> None:
    """A network learns from one group and is validated on another: a fold must leave two."""
    groups = [f"plate {i % n_groups}" for i in range(80)]
    grouped = replace(table, rows=table.rows.assign(group=groups))
    with pytest.raises(InputError, match=way_out) as caught:
        cross_validation_folds(grouped, QUICK, n_folds)
    assert f"the {n_groups} of this table" in str(caught.value)


def test_three_groups_can_be_cross_validated_in_three_folds(table: CellTable) -> None:
    grouped = replace(table, rows=table.rows.assign(group=[f"plate {i % 3}" for i in range(80)]))
    fold = cross_validation_folds(grouped, QUICK, 3)
    assert [len(set(fold[i::3])) for i in range(3)] == [1, 1, 1]


def test_the_table_is_refused_before_its_images_are_read(tmp_path: Path) -> None:
    (tmp_path / "damaged.tif").write_text("no image")
    names = {"image": "damaged.tif", "x": range(0, 400, 20), "y": 5, "cls": ["a", "b"] * 10}
    path = write_table(tmp_path, **names, group=["p1"] * 10 + ["p2"] * 10)
    with pytest.raises(InputError, match="leave out --folds"):
        commands.train(path, tmp_path / "model", folds=2)
