"""Split of a cell table into training and validation cells, or into folds; groups stay whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam_training.tables.cell_table import group_numbers
from cellcam_training.tables.table_checks import VALIDATION_WORDS

if TYPE_CHECKING:
    import pandas as pd


def validation_cells(rows: pd.DataFrame, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the cells for validation.

    A ``split`` column decides, if it is filled: rows with ``val``, ``valid`` or ``validation``
    are for validation, all others for training. Otherwise whole groups are drawn, stratified by
    class.

    Parameters
    ----------
    rows : columns cls, group, split
    share : of the cells, approximately
    seed : the same seed gives the same split

    Returns
    -------
    (N,) array of bool

    Raises
    ------
    InputError
        If the split column has one side only, or all cells belong to one group.
    """
    if (rows["split"] != "").any():
        chosen = rows["split"].str.lower().isin(VALIDATION_WORDS).to_numpy()
        if chosen.all() or not chosen.any():
            raise InputError("The split column needs rows with 'train' and rows with 'val'.")
        return chosen
    most = min(len(set(group_numbers(rows))), rows["cls"].value_counts().min())
    if most < 2:
        raise InputError(
            "All cells belong to one group, so that no other group can be kept for validation. "
            "Label cells of a second group; or name a column that differs from cell to cell "
            "(--group-column), or delete the column group, to split the cells one by one: the "
            "figures are too good then, since cells of one plate or image are alike."
        )
    return fold_numbers(rows, min(max(2, round(1 / share)), most), seed) == 0


def fold_numbers(rows: pd.DataFrame, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold (N,) of every cell: groups stay whole, classes are spread as evenly as they allow.

    Raises
    ------
    InputError
        If there are fewer groups, or cells of some class, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups, counts = group_numbers(rows), rows["cls"].value_counts()
    if (n := len(set(groups))) < n_folds:
        raise InputError(
            f"{n_folds} folds need as many groups (plates, movies, patients), each kept whole; the "
            f"table has {n}. Ask for fewer folds, or label cells of more groups."
        )
    if counts.min() < n_folds:
        raise InputError(
            f"{n_folds} folds need as many cells of each class; {counts.idxmin()} has "
            f"{counts.min()}. Ask for fewer folds, or label more of them."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(rows), np.int64)
    for k, (_, cells) in enumerate(splitter.split(np.zeros(len(rows)), rows["cls"], groups)):
        fold[cells] = k
    return fold
