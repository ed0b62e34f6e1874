"""How good a classifier is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def classification_metrics(
    truth: NDArray[np.integer[Any]], called: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Figures of merit of calls against the truth.

    Parameters
    ----------
    truth, called : (N,) class indices
    classes : names

    Returns
    -------
    ``accuracy``, ``balanced_accuracy`` (mean recall of the classes that occur), ``n`` and
    ``confusion`` (rows: truth, columns: calls)
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, called), 1)
    sizes = confusion.sum(1)
    recall = confusion.diagonal()[sizes > 0] / sizes[sizes > 0]
    return {
        "accuracy": float(confusion.trace() / max(1, len(truth))),
        "balanced_accuracy": float(recall.mean()) if len(recall) else 0.0,
        "n": len(truth),
        "confusion": confusion.tolist(),
    }
