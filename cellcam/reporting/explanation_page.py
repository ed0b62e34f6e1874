"""The page of the evidence report: metrics of all methods, sanity checks, pictures of cells.

Its metrics are those of `cellcam.evaluate.metrics`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
_CELLCAM = "Integrated Grad-CAM"
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class _Cell:
    """One metric of one method in the table."""

    mean: float
    low: float
    high: float
    verdict: str
    digits: int


@dataclass(frozen=True)
class _Row:
    """One method in the table."""

    name: str
    cells: Sequence[_Cell]


@dataclass(frozen=True, eq=False)
class ExplanationReport:
    """Content of the page.

    Attributes
    ----------
    title, subtitle : of the page
    reference : method that the others are compared with
    summary : as `cellcam.evaluate.comparison.summary` gives it
    costs : as `cellcam.evaluate.comparison.costs` gives it
    checks : sanity checks
    truth : name of the regions that maps should point at; empty without regions
    seen_through : sentence on how pixels were hidden, for Drop % and Increase %
    examples : cells with the maps of the methods in ``example_methods``
    example_methods : names, in the order of the maps
    class_pictures : mean picture of each class, with the mean map and that of each channel
    channels : names, in the order of the maps after the first
    places : columns class, n and the parts of the importance deep inside, in the rim, outside
    typical, doubtful : cells to show
    warnings : reasons for caution
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
    """``"better"`` or ``"worse"``: the reference beside a method; empty if not significant.

    Parameters
    ----------
    difference : mean of the reference less that of the method
    p : of the paired test; NaN for the reference itself
    """
    if not p < _SIGNIFICANT:
        return ""
    better = (difference > 0) == metric.higher_is_better
    return "better" if better else "worse"


def _row(name: str, report: ExplanationReport, metrics: Sequence[Metric]) -> _Row:
    figures = report.summary[report.summary["method"] == name].set_index("metric")
    values = figures.to_dict("index")
    return _Row(name, [_cell(values[metric.name], metric) for metric in metrics])


def _cell(figures: Mapping[Hashable, float], metric: Metric) -> _Cell:
    return _Cell(
        mean=figures["mean"],
        low=figures["low"],
        high=figures["high"],
        verdict=verdict(figures["difference"], figures["p"], metric),
        digits=1 if metric.percent else 3,
    )


def _intervals(report: ExplanationReport, metric: Metric) -> Figure:
    from matplotlib.figure import Figure

    rows = report.summary[report.summary["metric"] == metric.name].iloc[::-1]
    figure = Figure((4.4, 0.5 + 0.31 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, (_, row) in enumerate(rows.iterrows()):
        ours = str(row["method"]).startswith(_CELLCAM)
        # Shapes differ too, for readers who cannot tell the colours apart.
        colour, shape = (VERMILION, "D") if ours else (BLUE, "o")
        axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=2)
        axis.plot(row["mean"], place, shape, color=colour, ms=6)
    reference = rows[rows["method"] == report.reference]["mean"].iloc[0]
    axis.axvline(reference, color=VERMILION, lw=0.8, ls=":")
    names = [name.replace(f"{_CELLCAM}, ", f"{_CELLCAM},\n") for name in rows["method"]]
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
