"""Content of the report on a classifier: metrics, calibration, typical cells and mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cellcam.evaluate.classification import reliability
from cellcam.models.model import CellModel
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.classifier_page import ClassifierReport
from cellcam_training.judging.predictions import LabelledPredictions
from cellcam_training.tables.image_crops import Pixels

_MOST_MISTAKES = 12


def classifier_report(
    model: CellModel,
    pixels: Pixels,
    predictions: LabelledPredictions,
    title: str,
    subtitle: str,
    judged_on: str,
    *,
    history: Sequence[Mapping[str, float]] = (),
    warnings: Sequence[str] = (),
) -> ClassifierReport:
    """Report on the predictions of a model.

    Parameters
    ----------
    model : explains the calls that are shown
    pixels : (N, C, *crop_size) raw crops of the cells of ``predictions``
    judged_on, history, warnings : see `ClassifierReport`
    """
    classes = model.spec.classes
    no_groups = len(set(predictions.groups.tolist())) == len(predictions.groups)
    return ClassifierReport(
        title=title,
        subtitle=subtitle,
        classes=classes,
        metrics=predictions.metrics(classes),
        reliability=reliability(predictions.truth, predictions.probabilities),
        judged_on=judged_on,
        drawn="cells" if no_groups else "whole groups (plates, movies, patients)",
        history=history,
        looked_at=_surest_correct(model, pixels, predictions),
        mistakes=_surest_mistakes(model, pixels, predictions),
        warnings=warnings,
    )


def _surest_correct(
    model: CellModel, pixels: Pixels, predictions: LabelledPredictions
) -> list[ShownCell]:
    """For each class the correct call with the highest probability."""
    called, confidence = predictions.probabilities.argmax(1), predictions.probabilities.max(1)
    shown = []
    for k, name in enumerate(model.spec.classes):
        correct = np.flatnonzero((called == k) & (predictions.truth == k))
        if len(correct):
            row = correct[confidence[correct].argmax()]
            maps = model.explain(pixels[[row]], k).importance[0].cpu().numpy()
            shown.append(ShownCell(pixels[row], maps, f"{name}, {confidence[row]:.0%}"))
    return shown


def _surest_mistakes(
    model: CellModel, pixels: Pixels, predictions: LabelledPredictions
) -> list[ShownCell]:
    """Wrong calls, most confident first, with the maps of the called and of the true class."""
    called, confidence = predictions.probabilities.argmax(1), predictions.probabilities.max(1)
    wrong = np.flatnonzero(called != predictions.truth)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MOST_MISTAKES]
    if not len(rows):
        return []
    pairs = np.stack([called[rows], predictions.truth[rows]], 1)
    maps = model.explain(pixels[rows], torch.from_numpy(pairs)).importance.cpu().numpy()
    names = model.spec.classes
    return [
        ShownCell(
            pixels[row],
            maps_of_cell,
            f"called {names[call]} ({confidence[row]:.0%}), labelled {names[truth]}",
        )
        for row, maps_of_cell, (call, truth) in zip(rows, maps, pairs, strict=True)
    ]
