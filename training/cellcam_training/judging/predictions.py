"""What a model says about cells whose classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.classification import bootstrap_intervals, classification_metrics


@dataclass(frozen=True)
class Validation:
    """What a model says about cells that it was not fitted on.

    Attributes
    ----------
    truth : (N,) class indices
    probabilities : (N, n_classes), calibrated without the group of each cell
    groups : (N,) numbers
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    groups: NDArray[np.int64]

    def metrics(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Figures of merit, with 95 % intervals over groups under ``intervals``."""
        called = self.probabilities.argmax(1)
        return {
            **classification_metrics(self.truth, self.probabilities, classes),
            "intervals": bootstrap_intervals(self.truth, called, classes, self.groups),
        }
