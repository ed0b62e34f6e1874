"""Training and validation cells, with groups kept together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_VALIDATION_WORDS = ("val", "valid", "validation")


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
    from sklearn.model_selection import StratifiedGroupKFold

    if (rows["split"] != "").any():
        chosen = rows["split"].str.lower().isin(_VALIDATION_WORDS).to_numpy()
        if chosen.all() or not chosen.any():
            raise InputError("The split column needs rows with 'train' and rows with 'val'.")
        return chosen
    groups: Any = rows["group"].to_numpy()
    if (groups == "").all():
        groups = np.arange(len(rows))
    n_parts = min(
        max(2, round(1 / share)), len(np.unique(groups)), rows["cls"].value_counts().min()
    )
    if n_parts < 2:
        raise InputError(
            "All cells belong to one group, so none can be kept for validation. "
            "Give a split column, or another --group-column."
        )
    folds = StratifiedGroupKFold(n_parts, shuffle=True, random_state=seed)
    _, validation = next(folds.split(np.zeros(len(rows)), rows["cls"], groups))
    chosen = np.zeros(len(rows), bool)
    chosen[validation] = True
    return chosen
