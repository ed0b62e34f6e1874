from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cellcam_training.fitting.data_split import fold_numbers, validation_cells

from cellcam import InputError


def rows_with(**columns: list[str]) -> pd.DataFrame:
    """Rows of 60 cells in three classes."""
    n = 60
    return pd.DataFrame(
        {"cls": list("abc") * (n // 3), "group": [""] * n, "split": [""] * n} | columns
    )


def test_groups_are_never_split() -> None:
    rows = rows_with(group=[f"movie {i // 6}" for i in range(60)])
    chosen = validation_cells(rows, 0.2, seed=0)
    assert not set(rows["group"][chosen]) & set(rows["group"][~chosen])
    assert 0.1 <= chosen.mean() <= 0.3


def test_classes_are_balanced() -> None:
    rows = rows_with()
    chosen = validation_cells(rows, 0.2, seed=0)
    assert rows["cls"][chosen].value_counts().tolist() == [4, 4, 4]


def test_the_split_column_of_a_table_decides() -> None:
    split = ["val" if i % 3 == 1 else "train" for i in range(60)]
    chosen = validation_cells(rows_with(split=split), 0.2, seed=0)
    np.testing.assert_array_equal(chosen, [s == "val" for s in split])


def test_a_single_group_cannot_be_split() -> None:
    with pytest.raises(InputError, match="one group"):
        validation_cells(rows_with(group=["movie"] * 60), 0.2, seed=0)


def test_folds_keep_groups_together() -> None:
    rows = rows_with(group=[f"movie {i // 3}" for i in range(60)])
    fold = fold_numbers(rows, 4, 0)
    assert set(fold) == {0, 1, 2, 3}
    assert all(len(set(fold[rows["group"] == name])) == 1 for name in set(rows["group"]))


def test_more_folds_than_groups_are_refused() -> None:
    rows = rows_with(group=[f"plate {i // 30}" for i in range(60)])
    with pytest.raises(InputError, match="as many groups .* has 2. Ask for fewer folds"):
        fold_numbers(rows, 3, 0)


def test_more_folds_than_cells_of_a_class_are_refused() -> None:
    with pytest.raises(InputError, match="as many cells of each class; a has 20"):
        fold_numbers(rows_with(), 21, 0)
