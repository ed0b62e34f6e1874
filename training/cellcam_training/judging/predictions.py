"""Predictions of a model for cells whose classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.classification import bootstrap_intervals, classification_metrics

Metrics = dict[str, Any]


def guessing_warnings(metrics: Metrics) -> tuple[str, ...]:
    """Warning of a balanced accuracy whose 95 % interval holds that of guessing, or is below it.

    Parameters
    ----------
    metrics : of `LabelledPredictions.metrics`
    """
    accuracy, by_guessing = metrics["balanced_accuracy"], 1 / len(metrics["per_class"])
    lowest = (metrics["intervals"]["balanced_accuracy"] or [accuracy])[0]
    if lowest > by_guessing:
        return ()
    verb = "may be" if accuracy > by_guessing else "is"
    text = f"A balanced accuracy of {accuracy:.2f} {verb} no better than guessing"
    return (f"{text} ({by_guessing:.2f}): do not use the model's classes or maps.",)


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions of a model for cells that it was not trained on.

    Attributes
    ----------
    truth : (N,) class indices
    probabilities : (N, n_classes), calibrated; validation cells of a training have those of
        `cross_fitted`
    groups : (N,) number of the plate, movie or patient
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    groups: NDArray[np.int64]

    def metrics(self, classes: tuple[str, ...]) -> Metrics:
        """`classification_metrics`, with 95 % intervals over groups under ``intervals``."""
        called = self.probabilities.argmax(1)
        return {
            **classification_metrics(self.truth, self.probabilities, classes),
            "intervals": bootstrap_intervals(self.truth, called, classes, self.groups),
        }
