"""How a classifier fares when images get worse, and whether it notices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.classification import bootstrap_intervals, classification_metrics
from cellcam.evaluate.degraded import Change, DegradedPoint, degraded
from cellcam.models.model import CellModel
from cellcam.progress import Progress, nobody


def degraded_points(
    model: CellModel,
    pixels: NDArray[np.generic],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    progress: Progress | None = None,
) -> list[DegradedPoint]:
    """Calls of cells as they are, and at every level of `degraded`.

    Parameters
    ----------
    pixels : (N, C, *crop_size) counts
    truth : (N,) class indices
    groups : (N,) number of the plate, movie or patient
    """
    classes, report = model.spec.classes, progress or nobody
    usual = model.probabilities(pixels).argmax(1)

    def point(kind: Change, level: float, name: str, crops: NDArray[np.generic]) -> DegradedPoint:
        report(0, 0, name)
        probabilities = model.probabilities(crops).astype(np.float64)
        called = probabilities.argmax(1)
        intervals = bootstrap_intervals(truth, called, classes, groups)
        unlike = model.unlike(crops).values
        known = np.isfinite(unlike).any()
        return DegradedPoint(
            kind,
            level,
            name,
            classification_metrics(truth, probabilities, classes)["balanced_accuracy"],
            intervals["balanced_accuracy"],
            float((called == usual).mean()),
            float((unlike > 1).mean()) if known else None,
        )

    points = [point("unchanged", 0.0, "unchanged", pixels)]
    for changed in degraded(pixels, model.spec.channels):
        points.append(point(changed.kind, changed.level, changed.name, changed.crops))
    return points
