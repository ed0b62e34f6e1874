"""The page of a classifier: metrics, mistakes, calibration, training and pictures of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.cell_pictures import ShownCell, cell_picture
from cellcam.reporting.colours import BLUE, GREY, ORANGE
from cellcam.reporting.html_page import figure_svg, write_page
from cellcam.reporting.sample_page import ClassSamples, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ClassifierReport:
    """Content of the page.

    Attributes
    ----------
    title, subtitle : of the page
    classes : names
    metrics : of `classification_metrics`, with ``intervals`` of `bootstrap_intervals`
    reliability : (bins, 3), see `cellcam.evaluate.classification.reliability`
    judged_on : the cells that were measured, as the end of a sentence
    drawn : unit that is resampled for the intervals: cells, or groups
    history : figures of each epoch; empty without a training
    looked_at, mistakes : cells to show
    warnings : reasons for caution
    samples : crops of each class
    crops : size of the crops, and the reason for it
    """

    title: str
    subtitle: str
    classes: Sequence[str]
    metrics: Mapping[str, Any]
    reliability: NDArray[np.float64]
    judged_on: str
    drawn: str = "cells"
    history: Sequence[Mapping[str, float]] = ()
    looked_at: Sequence[ShownCell] = ()
    mistakes: Sequence[ShownCell] = ()
    warnings: Sequence[str] = field(default=())
    samples: Sequence[ClassSamples] = ()
    crops: str = ""


def write_classifier_page(path: Path, report: ClassifierReport) -> None:
    """Write one HTML file that needs no network."""
    write_page(
        path,
        "classifier.html.j2",
        title=report.title,
        subtitle=report.subtitle,
        classes=report.classes,
        metrics=report.metrics,
        judged_on=report.judged_on,
        drawn=report.drawn,
        warnings=report.warnings,
        confusion=_shaded(report.classes, report.metrics["confusion"]),
        reliability=figure_svg(reliability_diagram(report.reliability)),
        curves=figure_svg(_curves(report.history)) if report.history else "",
        looked_at=[cell_picture(cell) for cell in report.looked_at],
        mistakes=[cell_picture(cell) for cell in report.mistakes],
        samples=shown(report.samples),
        crops=report.crops,
    )


def _shaded(
    classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> list[tuple[str, list[tuple[int, float]]]]:
    """Rows of the confusion matrix: name, and each number with its part of the row."""
    return [
        (name, [(n, n / max(1, sum(row))) for n in row])
        for name, row in zip(classes, confusion, strict=True)
    ]


def reliability_diagram(bins: NDArray[np.float64]) -> Figure:
    """Chart of `cellcam.evaluate.classification.reliability`."""
    from matplotlib.figure import Figure

    figure = Figure((4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    filled = bins[bins[:, 2] > 0]
    sizes = 15 + 200 * filled[:, 2] / filled[:, 2].max()
    axis.plot([0, 1], [0, 1], color=GREY, lw=1)
    axis.scatter(filled[:, 0], filled[:, 1], s=sizes, color=BLUE, alpha=0.8)
    axis.set(
        xlabel="probability that the calls are given",
        ylabel="part of them that is right",
        xlim=(0, 1.03),
        ylim=(0, 1.03),
    )
    axis.set_title("larger dots stand for more cells", fontsize=9)
    return figure


def _curves(history: Sequence[Mapping[str, float]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure((8.4, 3.2), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name, colour in (("training_loss", ORANGE), ("validation_loss", BLUE)):
        label = name.removesuffix("_loss")
        loss.plot(epochs, [row[name] for row in history], color=colour, label=label)
    accuracy.plot(epochs, [row["balanced_accuracy"] for row in history], color=BLUE)
    for axis, quantity in ((loss, "loss"), (accuracy, "balanced accuracy, validation")):
        axis.set(xlabel="epoch", ylabel=quantity)
    loss.legend(frameon=False)
    return figure
