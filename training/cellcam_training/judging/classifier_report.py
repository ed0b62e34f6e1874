"""Content of the report on a classifier: metrics, calibration, typical cells and mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.evaluate.classification import reliability
from cellcam.models.model import CellModel
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.classifier_page import ClassifierReport
from cellcam.reporting.sample_page import ClassSamples
from cellcam_training.judging.predictions import LabelledPredictions, guessing_warnings
from cellcam_training.tables.image_crops import Pixels

_MOST_MISTAKES = 12


def classifier_report(
    judges: Sequence[CellModel],
    judge_of: NDArray[np.integer],
    pixels: Pixels,
    predictions: LabelledPredictions,
    title: str,
    subtitle: str,
    judged_on: str,
    *,
    history: Sequence[Mapping[str, float]] = (),
    warnings: Sequence[str] = (),
    samples: Sequence[ClassSamples] = (),
    crops: str = "",
) -> ClassifierReport:
    """Report on the predictions of a model, or of several that judged a part of the cells each.

    Parameters
    ----------
    judges : models that made the predictions, and explain those that are shown
    judge_of : (N,) number of the judge of each cell
    pixels : (N, C, *crop_size) raw crops of the cells of ``predictions``
    judged_on, history, warnings, samples, crops : see `ClassifierReport`
    """
    classes = judges[0].spec.classes
    explain = _Explainer(judges, judge_of, pixels)
    no_groups = len(set(predictions.groups.tolist())) == len(predictions.groups)
    metrics = predictions.metrics(classes)
    return ClassifierReport(
        title=title,
        subtitle=subtitle,
        classes=classes,
        metrics=metrics,
        reliability=reliability(predictions.truth, predictions.probabilities),
        judged_on=judged_on,
        drawn="cells" if no_groups else "whole groups (plates, movies, patients)",
        history=history,
        looked_at=_surest_correct(explain, predictions, classes),
        mistakes=_surest_mistakes(explain, predictions, classes),
        warnings=(*guessing_warnings(metrics), *warnings),
        samples=samples,
        crops=crops,
    )


@dataclass(frozen=True)
class _Explainer:
    """Cells, and the model that explains each of them."""

    judges: Sequence[CellModel]
    judge_of: NDArray[np.integer]
    pixels: Pixels

    def shown(self, row: int, classes: Sequence[int], title: str) -> ShownCell:
        """A cell with its maps for some classes."""
        model = self.judges[self.judge_of[row]]
        explained = model.explain(self.pixels[[row]], torch.tensor([classes]))
        return ShownCell(self.pixels[row], explained.importance[0].cpu().numpy(), title)


def _surest_correct(
    explain: _Explainer, predictions: LabelledPredictions, classes: tuple[str, ...]
) -> list[ShownCell]:
    """For each class the correct call with the highest probability."""
    called, confidence = predictions.probabilities.argmax(1), predictions.probabilities.max(1)
    shown = []
    for k, name in enumerate(classes):
        correct = np.flatnonzero((called == k) & (predictions.truth == k))
        if len(correct):
            row = int(correct[confidence[correct].argmax()])
            shown.append(explain.shown(row, [k], f"{name}, {confidence[row]:.0%}"))
    return shown


def _surest_mistakes(
    explain: _Explainer, predictions: LabelledPredictions, classes: tuple[str, ...]
) -> list[ShownCell]:
    """Wrong calls, most confident first, with the maps of the called and of the true class."""
    called, confidence = predictions.probabilities.argmax(1), predictions.probabilities.max(1)
    wrong = np.flatnonzero(called != predictions.truth)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MOST_MISTAKES]
    shown = []
    for row in rows.tolist():
        call, truth = int(called[row]), int(predictions.truth[row])
        title = f"called {classes[call]} ({confidence[row]:.0%}), labelled {classes[truth]}"
        shown.append(explain.shown(row, [call, truth], title))
    return shown
