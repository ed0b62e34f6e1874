"""Metrics of a classifier, their confidence intervals, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer]
Probabilities = NDArray[np.floating]
Interval = list[float] | None  # [low, high]


class ClassMetrics(TypedDict):
    """Figures of one class; None where undefined."""

    precision: float | None
    recall: float | None
    f1: float | None
    n: int


class ClassificationMetrics(TypedDict):
    """Figures of merit of a classifier, see `classification_metrics`."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    ece: float
    per_class: dict[str, ClassMetrics]
    n: int
    confusion: list[list[int]]


class MetricIntervals(TypedDict):
    """Confidence intervals of the figures, see `bootstrap_intervals`."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    per_class: dict[str, dict[str, Interval]]


def classification_metrics(
    truth: Indices, probabilities: Probabilities, classes: Sequence[str]
) -> ClassificationMetrics:
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
    """Number of cells of each class (rows) that got each call (columns)."""
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (truth, called), 1)
    return confusion


def reliability(
    truth: Indices, probabilities: Probabilities, n_bins: int = 15
) -> NDArray[np.float64]:
    """Probability of the calls and part of them that is right, in bins of equal width.

    Returns
    -------
    (n_bins, 3): mean probability of the calls of a bin, part of them that is right, and their
    number; the first two are NaN for an empty bin
    """
    stated = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((stated * n_bins).astype(int), n_bins - 1)
    number = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        sums = [np.bincount(place, weights, n_bins) / number for weights in (stated, right)]
    return np.stack([*sums, number], 1)


def calibration_error(truth: Indices, probabilities: Probabilities, n_bins: int = 15) -> float:
    """Expected calibration error: mean |probability of the calls - part that is right| of a bin.

    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    bins = reliability(truth, probabilities, n_bins)
    distance = np.nan_to_num(np.abs(bins[:, 0] - bins[:, 1]))
    return float((distance * bins[:, 2]).sum() / max(1, len(truth)))


def bootstrap_intervals(
    truth: Indices,
    called: Indices,
    classes: Sequence[str],
    groups: NDArray[np.generic] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> MetricIntervals:
    """Confidence intervals by resampling whole groups, or cells where there are no groups.

    Cells of one plate or movie are alike: resampling single cells gives too narrow intervals.

    Returns
    -------
    [low, high] of ``accuracy``, ``balanced_accuracy`` and ``macro_f1``, and in ``per_class`` of
    ``precision``, ``recall`` and ``f1``; None if fewer than 100 resamples define the figure, or
    if all cells, or all of the class, come from one group
    """
    k = len(classes)
    group = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    by_group = np.zeros((n_groups, k * k))
    np.add.at(by_group, (group, np.asarray(truth) * k + np.asarray(called)), 1)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_resamples)
    confusion = (drawn @ by_group).reshape(n_resamples, k, k)
    tails = ((1 - level) / 2, (1 + level) / 2)
    summary = [_interval(values, tails) if n_groups > 1 else None for values in _summary(confusion)]
    scores = _scores(confusion)
    groups_with = (by_group.reshape(-1, k, k).sum(2) > 0).sum(0)
    return {
        "accuracy": summary[0],
        "balanced_accuracy": summary[1],
        "macro_f1": summary[2],
        "per_class": {
            name: {
                score: _interval(values[:, i], tails) if groups_with[i] > 1 else None
                for score, values in scores.items()
            }
            for i, name in enumerate(classes)
        },
    }


def _scores(confusion: NDArray[np.number]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 (..., n_classes) of confusion matrices; NaN where undefined."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, called = confusion.sum(-1), confusion.sum(-2)
    with np.errstate(invalid="ignore"):
        return {
            "precision": right / called,
            "recall": right / true,
            "f1": 2 * right / (true + called),
        }


def _summary(confusion: NDArray[np.number]) -> tuple[NDArray[np.float64], ...]:
    """Accuracy, balanced accuracy and macro F1 (...) of confusion matrices."""
    scores = _scores(confusion)
    right = np.trace(confusion, axis1=-2, axis2=-1)
    accuracy = right / np.maximum(1, confusion.sum((-2, -1)))
    return accuracy, _mean_of_defined(scores["recall"]), _mean_of_defined(scores["f1"])


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    defined = np.isfinite(values)
    total: NDArray[np.float64] = np.where(defined, values, 0).sum(-1)
    return total / np.maximum(1, defined.sum(-1))


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassMetrics]:
    scores = _scores(confusion)
    return {
        name: {
            "precision": _number(scores["precision"][i]),
            "recall": _number(scores["recall"][i]),
            "f1": _number(scores["f1"][i]),
            "n": int(confusion[i].sum()),
        }
        for i, name in enumerate(classes)
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _interval(values: NDArray[np.float64], tails: tuple[float, float]) -> Interval:
    values = values[np.isfinite(values)]
    if len(values) < 100:
        return None
    low, high = np.quantile(values, tails)
    return [float(low), float(high)]
