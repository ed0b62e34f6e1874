"""Predictions of a model for cells whose classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.classification import bootstrap_intervals, classification_metrics

Metrics = dict[str, Any]


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
