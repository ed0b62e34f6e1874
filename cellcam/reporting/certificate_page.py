"""The page of a certificate: what a facility asks about a classifier, answered or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.evaluate.degraded import DegradedPoint
from cellcam.evaluate.sanity import SanityCheck
from cellcam.reporting.classifier_page import reliability_diagram
from cellcam.reporting.colours import BLUE, INK, VERMILION
from cellcam.reporting.html_page import figure_svg, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Level = Literal["minimal", "recommended", "asked for as well"]

_AXES = {
    "exposure": "all counts times",
    "blur": "sigma of the blur, pixels of a crop",
    "noise": "noise, parts of the channel's spread",
    "lost stain": "",
}


@dataclass(frozen=True)
class CertificateItem:
    """One point of the list.

    Attributes
    ----------
    name : short and unique
    level : how urgently it is asked for
    answers : sentences; empty where the answer is missing
    missing : what is missing and how to give it; empty where nothing is
    """

    name: str
    level: Level
    answers: tuple[str, ...] = ()
    missing: str = ""

    @property
    def is_filled(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True, eq=False)
class CertificatePage:
    """Content of the page.

    Attributes
    ----------
    model : name of the model folder
    subtitle : sentence on the model, the cells and the date
    items : the list
    metrics : of `classification_metrics` with ``intervals``
    reliability : (bins, 3), see `cellcam.evaluate.classification.reliability`
    points : the cells as they are first, then changed
    n_changed : number of cells that were changed
    checks : sanity checks of explanations
    warnings : reasons for caution
    """

    model: str
    subtitle: str
    items: Sequence[CertificateItem]
    metrics: Mapping[str, Any]
    reliability: NDArray[np.float64]
    points: Sequence[DegradedPoint]
    n_changed: int
    checks: Sequence[SanityCheck]
    warnings: Sequence[str] = ()


def write_certificate_page(path: Path, page: CertificatePage) -> None:
    """Write one HTML file that needs no network."""
    write_page(
        path,
        "certificate.html.j2",
        page=page,
        title=f"Certificate of {page.model}",
        n_filled=sum(item.is_filled for item in page.items),
        reliability=figure_svg(reliability_diagram(page.reliability)),
        charts=[
            (kind, figure_svg(_curve(page.points, kind)))
            for kind in _AXES
            if any(point.kind == kind for point in page.points)
        ],
    )


def _curve(points: Sequence[DegradedPoint], kind: str) -> Figure:
    """Balanced accuracy and part of the cells that is flagged, by the level of one change."""
    from matplotlib.figure import Figure

    usual, of_kind = points[0], [point for point in points if point.kind == kind]
    figure = Figure((4.6, 3.1), layout="constrained")
    axis = figure.subplots()
    if kind == "lost stain":
        shown = [usual, *of_kind]
        places = [float(place) for place in range(len(shown))]
        axis.set_xticks(places, ["all stains", *(point.name for point in of_kind)], fontsize=8)
        style = ""
    else:
        shown = sorted([*of_kind, usual], key=lambda point: _place(point, kind))
        places, style = [_place(point, kind) for point in shown], "-"
        if kind == "exposure":
            axis.set_xscale("log", base=2)
            axis.set_xticks(places, [f"{place:g}" for place in places], fontsize=8)
            axis.minorticks_off()
    _draw(axis, shown, places, style)
    axis.set(xlabel=_AXES[kind], ylim=(-0.03, 1.03))
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _place(point: DegradedPoint, kind: str) -> float:
    """Where a point lies along the axis; the cells as they are have an exposure of 1."""
    if point.kind == kind:
        return point.level
    return 1.0 if kind == "exposure" else 0.0


def _draw(axis: Axes, points: Sequence[DegradedPoint], places: Sequence[float], style: str) -> None:
    accuracy = [point.balanced_accuracy for point in points]
    low = [point.interval[0] if point.interval else np.nan for point in points]
    high = [point.interval[1] if point.interval else np.nan for point in points]
    axis.vlines(places, low, high, color=BLUE, alpha=0.5)
    axis.plot(places, accuracy, f"o{style}", color=BLUE, ms=4, label="balanced accuracy")
    flagged = [np.nan if point.flagged is None else point.flagged for point in points]
    if np.isfinite(flagged).any():
        # Shapes differ too, for readers who cannot tell the colours apart.
        axis.plot(places, flagged, f"s{style}", color=VERMILION, ms=4, label="flagged as unlike")
    axis.legend(frameon=False, fontsize=8, labelcolor=INK)
