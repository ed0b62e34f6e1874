"""Training and validation cells, with groups kept together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_VALIDATION_WORDS = ("val", "valid", "validation")


def groups_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Number (N,) of each cell's plate, movie or patient; a cell without one stands alone."""
    names = rows["group"].to_numpy(str)
    own = np.where(names == "", [f"cell {i}" for i in range(len(names))], names)
    numbers: NDArray[np.int64] = np.unique(own, return_inverse=True)[1]
    return numbers


def validation_cells(rows: pd.DataFrame, share: float, seed: int) -> NDArray[np.bool_]:
    """Which cells are kept for validation.

    The table's own ``split`` column decides where it has one (``train`` and ``val``; other
    words are left out of both by the caller). Else whole groups, stratified by class.

    Parameters
    ----------
    rows : columns cls, group, split
    share : of the cells, about
    seed : the same seed gives the same split

    Returns
    -------
    (N,) array of bool
    """
    if (rows["split"] != "").any():
        chosen = rows["split"].str.lower().isin(_VALIDATION_WORDS).to_numpy()
        if chosen.all() or not chosen.any():
            raise InputError("The split column needs rows with 'train' and rows with 'val'.")
        return chosen
    most = min(len(set(groups_of(rows))), rows["cls"].value_counts().min())
    if most < 2:
        raise InputError(
            "All cells belong to one group, so none can be kept for validation. "
            "Give a split column, or another --group-column."
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

    groups, counts = groups_of(rows), rows["cls"].value_counts()
    if n_folds < 2 or len(set(groups)) < n_folds or counts.min() < n_folds:
        raise InputError(
            f"{n_folds} folds need two or more, as many groups (there are {len(set(groups))}) "
            f"and as many cells of each class ({counts.idxmin()} has {counts.min()})."
        )
    parts = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(rows), np.int64)
    for k, (_, own) in enumerate(parts.split(np.zeros(len(rows)), rows["cls"], groups)):
        fold[own] = k
    return fold
