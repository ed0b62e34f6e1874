"""The report on explanations: do maps point at the evidence, and does the network need it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.metrics import METRICS, Metric
from cellcam.evaluate.sanity import SanityCheck
from cellcam.reporting.cell_pictures import ShownCell, cell_picture
from cellcam.reporting.colours import BLUE, INK, ORANGE, SKY_BLUE, VERMILION
from cellcam.reporting.html_page import figure_svg, write_page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PARTS = (("deep inside", BLUE), ("rim", SKY_BLUE), ("outside", ORANGE))
_OWN_NAME = "Integrated Grad-CAM"
_SURE = 0.05


@dataclass(frozen=True, eq=False)
class ExplanationReport:
    """What the report shows.

    Attributes
    ----------
    title, subtitle : of the page
    reference : method that the others are compared with
    summary : as `cellcam.evaluate.comparison.summary` gives it
    costs : as `cellcam.evaluate.comparison.costs` gives it
    checks : of sanity
    truth : what the regions are that maps should point at; empty where there are none
    seen_through : how images were hidden, for Drop % and Increase %
    examples : cells with the maps of the methods in ``example_methods``
    example_methods : names, in the order of the maps
    class_pictures : mean picture of each class, with the mean map and that of each channel
    channels : names, in the order of the maps after the first
    places : columns class, n and the parts of the importance deep inside, in the rim, outside
    typical, doubtful : cells to show
    warnings : what to beware of
    """

    title: str
    subtitle: str
    reference: str
    summary: pd.DataFrame
    costs: pd.DataFrame
    checks: Sequence[SanityCheck]
    truth: str
    seen_through: str
    examples: Sequence[ShownCell] = ()
    example_methods: Sequence[str] = ()
    class_pictures: Sequence[ShownCell] = ()
    channels: Sequence[str] = ()
    places: pd.DataFrame | None = None
    typical: Sequence[ShownCell] = ()
    doubtful: Sequence[ShownCell] = ()
    warnings: Sequence[str] = ()


def write_explanation_page(path: Path, report: ExplanationReport) -> None:
    """Write one HTML file that needs no network."""
    measured = set(report.summary["metric"])
    metrics = [metric for metric in METRICS if metric.name in measured]
    write_page(
        path,
        "explanation.html.j2",
        report=report,
        metrics=metrics,
        rows=[_row(name, report, metrics) for name in report.costs["method"]],
        charts=[figure_svg(_intervals(report, metric)) for metric in metrics],
        costs=report.costs.to_dict("records"),
        places=None if report.places is None else figure_svg(_places(report.places)),
        pictures={
            kind: [cell_picture(cell) for cell in getattr(report, kind)]
            for kind in ("examples", "class_pictures", "typical", "doubtful")
        },
    )


def verdict(difference: float, p: float, metric: Metric) -> str:
    """Whether the reference is better or worse than a method, or empty where neither is sure.

    ``difference`` is the reference less the method, ``p`` of the test; NaN for itself.
    """
    if not p < _SURE:
        return ""
    better = (difference > 0) == metric.higher_is_better
    return "better" if better else "worse"


def _row(name: str, report: ExplanationReport, metrics: Sequence[Metric]) -> dict[str, Any]:
    own: Any = report.summary[report.summary["method"] == name].set_index("metric")
    cells = [
        {
            "mean": own.loc[metric.name, "mean"],
            "low": own.loc[metric.name, "low"],
            "high": own.loc[metric.name, "high"],
            "verdict": verdict(
                float(own.loc[metric.name, "difference"]), float(own.loc[metric.name, "p"]), metric
            ),
            "digits": 1 if metric.percent else 3,
        }
        for metric in metrics
    ]
    return {"name": name, "cells": cells}


def _intervals(report: ExplanationReport, metric: Metric) -> Figure:
    from matplotlib.figure import Figure

    rows = report.summary[report.summary["metric"] == metric.name].iloc[::-1]
    figure = Figure((4.4, 0.5 + 0.31 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, (_, row) in enumerate(rows.iterrows()):
        own = str(row["method"]).startswith(_OWN_NAME)
        # A shape each, so that nothing hangs on colour alone.
        colour, shape = (VERMILION, "D") if own else (BLUE, "o")
        axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=2)
        axis.plot(row["mean"], place, shape, color=colour, ms=6)
    reference = rows[rows["method"] == report.reference]["mean"].iloc[0]
    axis.axvline(reference, color=VERMILION, lw=0.8, ls=":")
    names = [name.replace(f"{_OWN_NAME}, ", f"{_OWN_NAME},\n") for name in rows["method"]]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    side = "right" if metric.higher_is_better else "left"
    figure.suptitle(f"{metric.title}: better to the {side}", fontsize=9, color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _places(places: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure((6.4, 0.9 + 0.3 * len(places)), layout="constrained")
    axis = figure.subplots()
    left: NDArray[np.float64] = np.zeros(len(places))
    names = [f"{row['class']} ({row['n']})" for _, row in places.iterrows()]
    for part, colour in _PARTS:
        width = places[part].to_numpy(float)
        axis.barh(names, width, left=left, color=colour, label=part, edgecolor="white")
        left += width
    axis.invert_yaxis()
    axis.set(xlabel="part of the importance", xlim=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure
