"""How good a classifier is, and how sure of that one can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def classification_metrics(
    truth: Indices, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, Any]:
    """Figures of merit of a classifier; the class with the highest probability is its call.

    Parameters
    ----------
    truth : (N,) class indices
    probabilities : (N, n_classes)
    classes : names

    Returns
    -------
    ``accuracy``; ``balanced_accuracy`` (mean recall of the classes that occur); ``macro_f1``
    (mean over the classes that occur or are called); ``ece``; ``per_class`` with
    ``precision``, ``recall``, ``f1`` (None where undefined) and ``n``; ``n``; ``confusion``
    (rows: truth, columns: calls)
    """
    confusion = confusion_matrix(truth, probabilities.argmax(1), len(classes))
    accuracy, balanced, macro_f1 = (float(v) for v in _summary(confusion))
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "macro_f1": macro_f1,
        "ece": calibration_error(truth, probabilities),
        "per_class": _per_class(confusion, classes),
        "n": len(truth),
        "confusion": confusion.tolist(),
    }


def confusion_matrix(truth: Indices, called: Indices, n_classes: int) -> NDArray[np.int64]:
    """How many cells of each class (rows) were called what (columns)."""
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (truth, called), 1)
    return confusion


def reliability(
    truth: Indices, probabilities: Probabilities, n_bins: int = 15
) -> NDArray[np.float64]:
    """Stated and observed certainty of calls, in bins of equal width.

    Returns
    -------
    (n_bins, 3): mean probability of the calls in a bin, part of them that is right, their
    number; NaN in the first two where a bin is empty
    """
    stated = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((stated * n_bins).astype(int), n_bins - 1)
    number = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        sums = [np.bincount(place, weights, n_bins) / number for weights in (stated, right)]
    return np.stack([*sums, number], 1)


def calibration_error(truth: Indices, probabilities: Probabilities, n_bins: int = 15) -> float:
    """Expected calibration error: mean distance of stated from observed certainty.

    As in Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    bins = reliability(truth, probabilities, n_bins)
    distance = np.nan_to_num(np.abs(bins[:, 0] - bins[:, 1]))
    return float((distance * bins[:, 2]).sum() / max(1, len(truth)))


def bootstrap_intervals(
    truth: Indices,
    called: Indices,
    classes: Sequence[str],
    groups: NDArray[Any] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Confidence intervals by resampling whole groups, or cells where there are no groups.

    Cells of one plate or movie are alike: resampling them one by one would promise too much.

    Returns
    -------
    [low, high] of ``accuracy``, ``balanced_accuracy`` and ``macro_f1``; ``per_class`` the same
    of ``precision``, ``recall`` and ``f1``; None where a class hardly ever occurs, and where all
    cells, or all of a class, come from one group
    """
    k = len(classes)
    own = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(own.max()) + 1
    by_group = np.zeros((n_groups, k * k))
    np.add.at(by_group, (own, np.asarray(truth) * k + np.asarray(called)), 1)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_resamples)
    confusion = (drawn @ by_group).reshape(n_resamples, k, k)
    tails = ((1 - level) / 2, (1 + level) / 2)
    summary = [_interval(values, tails) if n_groups > 1 else None for values in _summary(confusion)]
    scores = _scores(confusion)
    groups_with = (by_group.reshape(-1, k, k).sum(2) > 0).sum(0)
    return {
        **dict(zip(("accuracy", "balanced_accuracy", "macro_f1"), summary, strict=True)),
        "per_class": {
            name: {
                score: _interval(values[:, i], tails) if groups_with[i] > 1 else None
                for score, values in scores.items()
            }
            for i, name in enumerate(classes)
        },
    }


def _scores(confusion: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 (..., n_classes) of confusion matrices; NaN where undefined."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, called = confusion.sum(-1), confusion.sum(-2)
    with np.errstate(invalid="ignore"):
        return {
            "precision": right / called,
            "recall": right / true,
            "f1": 2 * right / (true + called),
        }


def _summary(confusion: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Accuracy, balanced accuracy and macro F1 (...) of confusion matrices."""
    scores = _scores(confusion)
    right = np.trace(confusion, axis1=-2, axis2=-1)
    accuracy = right / np.maximum(1, confusion.sum((-2, -1)))
    return accuracy, _mean_of_defined(scores["recall"]), _mean_of_defined(scores["f1"])


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    defined = np.isfinite(values)
    total: NDArray[np.float64] = np.where(defined, values, 0).sum(-1)
    return total / np.maximum(1, defined.sum(-1))


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    scores = _scores(confusion)
    return {
        name: {
            **{score: _number(values[i]) for score, values in scores.items()},
            "n": int(confusion[i].sum()),
        }
        for i, name in enumerate(classes)
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _interval(values: NDArray[np.float64], tails: tuple[float, float]) -> list[float] | None:
    values = values[np.isfinite(values)]
    if len(values) < 100:
        return None
    low, high = np.quantile(values, tails)
    return [float(low), float(high)]
