"""What a report on a classifier is made of: its figures, its surest mistakes, what it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.evaluate.classification import reliability
from cellcam.models.model import CellModel
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.classifier_page import ClassifierReport
from cellcam_training.judging.predictions import Validation

_MOST_MISTAKES = 12


def classifier_report(
    model: CellModel,
    pixels: NDArray[Any],
    judged: Validation,
    title: str,
    subtitle: str,
    judged_on: str,
    *,
    history: Sequence[Mapping[str, float]] = (),
    warnings: Sequence[str] = (),
) -> ClassifierReport:
    """The report on what ``model`` says about cells with known classes.

    Parameters
    ----------
    pixels : (N, C, *crop_size) raw crops of the cells that were judged
    judged : what the model says about them
    """
    classes = model.spec.classes
    alone = len(set(judged.groups.tolist())) == len(judged.groups)
    return ClassifierReport(
        title=title,
        subtitle=subtitle,
        classes=classes,
        metrics=judged.metrics(classes),
        reliability=reliability(judged.truth, judged.probabilities),
        judged_on=judged_on,
        drawn="cells" if alone else "whole groups (plates, movies, patients)",
        history=history,
        looked_at=_surest_right(model, pixels, judged),
        mistakes=_surest_mistakes(model, pixels, judged),
        warnings=warnings,
    )


def _surest_right(model: CellModel, pixels: NDArray[Any], judged: Validation) -> list[ShownCell]:
    """For each class the right call with the highest probability."""
    called, stated = judged.probabilities.argmax(1), judged.probabilities.max(1)
    shown = []
    for k, name in enumerate(model.spec.classes):
        own = np.flatnonzero((called == k) & (judged.truth == k))
        if len(own):
            row = own[stated[own].argmax()]
            maps = model.explain(pixels[[row]], k).importance[0].cpu().numpy()
            shown.append(ShownCell(pixels[row], maps, f"{name}, {stated[row]:.0%}"))
    return shown


def _surest_mistakes(model: CellModel, pixels: NDArray[Any], judged: Validation) -> list[ShownCell]:
    """Wrong calls, surest first, with the evidence for the call and for the truth."""
    called, stated = judged.probabilities.argmax(1), judged.probabilities.max(1)
    wrong = np.flatnonzero(called != judged.truth)
    rows = wrong[np.argsort(-stated[wrong], kind="stable")][:_MOST_MISTAKES]
    if not len(rows):
        return []
    pairs = np.stack([called[rows], judged.truth[rows]], 1)
    maps = model.explain(pixels[rows], torch.from_numpy(pairs)).importance.cpu().numpy()
    names = model.spec.classes
    return [
        ShownCell(
            pixels[row],
            own,
            f"called {names[call]} ({stated[row]:.0%}), said to be {names[truth]}",
        )
        for row, own, (call, truth) in zip(rows, maps, pairs, strict=True)
    ]
