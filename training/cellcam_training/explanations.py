"""Explanations judged on cells of a table, or on simulated ones: figures, checks and the report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.evaluate.benchmark import Progress, costs, judge_methods, summary
from cellcam.evaluate.methods import OWN, Method, compared_methods
from cellcam.evaluate.places import mean_picture, parts_of_cells
from cellcam.evaluate.sanity import (
    SanityCheck,
    completeness_check,
    dimension_check,
    integrated_gradcam,
    noise_check,
    randomisation_check,
)
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.explain.path import baseline_images
from cellcam.models.model import CellModel
from cellcam.models.registry import network_entry
from cellcam.reporting.explanations import ExplanationReport, write_explanation_report
from cellcam.reporting.pages import ShownCell
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.cell_table import CellTable
from cellcam_training.evaluation import matching_crops
from cellcam_training.regions import cell_regions
from cellcam_training.splitting import groups_of

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_CELLS = 200
SEEN_THROUGH = (
    "Drop % and Increase % see each image through its map: every pixel moves toward the raw black "
    "image by 1 - map / largest value; the “top 15 %” columns keep these pixels and blacken all "
    "others. Insertion and deletion put the most important pixels in, or take them away, first."
)
_CHECKED, _EXAMPLES, _TYPICAL, _DOUBTFUL = 12, 6, 2, 6
_AT_ONCE = 64
# Checks compare ranks; with random weights maps bend everywhere, and 1 % takes minutes.
_CHECKED_RTOL = 0.05


@dataclass(frozen=True, eq=False)
class JudgedCells:
    """Cells whose explanations are judged.

    Attributes
    ----------
    pixels : (N, C, *crop_size) raw crops
    explained : (N,) class that is explained
    regions : (N, *crop_size) bool, where its evidence is known to lie; None if nobody knows
    bodies : (N, *crop_size) bool, the cells; None if unknown
    groups : (N,) movie, field or plate
    truth : what ``regions`` are, for people
    """

    pixels: NDArray[Any]
    explained: NDArray[np.int64]
    regions: NDArray[np.bool_] | None
    bodies: NDArray[np.bool_] | None
    groups: NDArray[np.int64]
    truth: str = ""

    def part(self, rows: NDArray[np.int64]) -> JudgedCells:
        """Some of the cells."""
        return replace(
            self,
            pixels=self.pixels[rows],
            explained=self.explained[rows],
            regions=None if self.regions is None else self.regions[rows],
            bodies=None if self.bodies is None else self.bodies[rows],
            groups=self.groups[rows],
        )


@dataclass(frozen=True, eq=False)
class ExplanationFigures:
    """What was found out; tables as in `cellcam.evaluate.benchmark`."""

    judged: pd.DataFrame
    summary: pd.DataFrame
    costs: pd.DataFrame
    checks: tuple[SanityCheck, ...]


def cells_of_table(
    table: CellTable,
    model: CellModel,
    channels: tuple[str, ...] | None = None,
    masks: Path | None = None,
    most: int = MOST_CELLS,
) -> JudgedCells:
    """Cells of a table, at most so many by chance, each explained for the class it is called.

    Raises
    ------
    InputError
        If images or masks do not fit the model.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(table.rows))[:most])
    part = table.part(chosen)
    crops = matching_crops(part, model.spec, channels)
    regions = cell_regions(part, model.spec, masks)
    truth = "the cell's box" if masks is None and part.place == "box" else "the cell's mask"
    return JudgedCells(
        crops.pixels,
        model.probabilities(crops.pixels).argmax(1).astype(np.int64),
        regions,
        regions,
        groups_of(part.rows),
        "" if regions is None else truth,
    )


def judge_explanations(
    model: CellModel, cells: JudgedCells, progress: Progress | None = None
) -> ExplanationFigures:
    """Figures of all methods on the same cells, and the sanity checks of CellCam's own."""
    x, methods = model.normalised(cells.pixels), methods_for(model)
    classes = torch.from_numpy(cells.explained).to(x.device)
    regions = None if cells.regions is None else torch.from_numpy(cells.regions).to(x.device)
    judged = judge_methods(methods, model.network, x, classes, model.black(), regions, progress)
    return ExplanationFigures(
        judged,
        summary(judged, OWN, cells.groups),
        costs(judged),
        sanity_checks(model, x[:_CHECKED], classes[:_CHECKED]),
    )


def methods_for(model: CellModel) -> list[Method]:
    """The explanations of a model, and peers at the layer where they are usually taken."""
    layer = network_entry(model.spec.network).cam_layer
    return compared_methods(model.explainer, layer, model.spec.spatial_dims)


def sanity_checks(model: CellModel, x: Tensor, classes: Tensor) -> tuple[SanityCheck, ...]:
    """All checks; that of 2-D and 3-D where the network is a 2-D one with a 3-D form."""
    network, spec, black = model.network, model.spec, model.black()
    layer, start = spec.target_layer, spec.baseline
    how: dict[str, Any] = {"formula": spec.formula, "baselines": start, "rtol": _CHECKED_RTOL}
    explain = integrated_gradcam(layer, black, **how)

    def complete(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        cam = IntegratedGradCAM(network, layer, black=black, formula="complete", baselines=start)
        return cam(x, classes, upsample=False).maps[:, 0]

    checks = [
        randomisation_check(explain, network, x, classes),
        noise_check(explain, network, x, classes),
        completeness_check(complete, network, x, classes, baseline_images(start, x, black)),
    ]
    if spec.spatial_dims == 2:
        deep = integrated_gradcam(layer, black.unsqueeze(2), **how)

        def either(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
            return (deep if x.ndim == 5 else explain)(network, x, classes)

        # Where a layer has no 3-D form there is nothing to compare.
        with suppress(ValueError):
            checks.append(dimension_check(either, network, x, classes))
    return tuple(checks)


def evaluate_explanations(
    table: CellTable,
    model: CellModel,
    out: Path,
    channels: tuple[str, ...] | None = None,
    masks: Path | None = None,
    progress: Progress | None = None,
) -> ExplanationFigures:
    """Judge explanations on a cell table; write ``explanations.csv``, ``.json`` and ``.html``.

    Parameters
    ----------
    table : the cells; of more than 200, 200 by chance
    out : folder for the results
    channels : names of the images' channels, overruling the files'
    masks : see `cell_regions`
    """
    if not len(table.rows):
        raise InputError("There are no cells to judge explanations on.")
    cells = cells_of_table(table, model, channels, masks)
    figures = judge_explanations(model, cells, progress)
    about = f"{model.spec.network}, {model.spec.explaining}; {len(cells.explained)} cells."
    write_results(out, "explanations", model, cells, figures, about, table.warnings)
    return figures


def write_results(
    out: Path,
    name: str,
    model: CellModel,
    cells: JudgedCells,
    figures: ExplanationFigures,
    about: str,
    warnings: tuple[str, ...] = (),
) -> None:
    """Write ``NAME.csv`` (every image), ``NAME.json`` (means, intervals, tests), ``NAME.html``."""
    with whole_file(out / f"{name}.csv") as temporary:
        figures.judged.to_csv(temporary, index=False)
    content = {
        "reference": OWN,
        "seen_through": SEEN_THROUGH,
        "truth": cells.truth,
        "summary": _plain(figures.summary),
        "costs": _plain(figures.costs),
        "checks": [
            {"name": c.name, **c.figure._asdict(), "expected": c.expected, "passed": c.passed}
            for c in figures.checks
        ],
    }
    write_json(out / f"{name}.json", content)
    report = ExplanationReport(
        title="Are the explanations right?",
        subtitle=about,
        reference=OWN,
        summary=figures.summary,
        costs=figures.costs,
        checks=figures.checks,
        truth=cells.truth,
        seen_through=SEEN_THROUGH,
        warnings=warnings,
    )
    if model.spec.spatial_dims == 2:
        report = _with_pictures(report, model, cells)
    write_explanation_report(out / f"{name}.html", report)


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def _with_pictures(
    report: ExplanationReport, model: CellModel, cells: JudgedCells
) -> ExplanationReport:
    spec, called = model.spec, cells.explained
    own = _maps(model, cells.pixels, called)[:, 0]
    examples = np.random.default_rng(1).permutation(len(called))[:_EXAMPLES]
    methods = methods_for(model)
    typical, doubtful = _typical_and_doubtful(model, cells)
    return replace(
        report,
        examples=_examples(model, cells, methods, np.sort(examples)),
        example_methods=[method.name for method in methods],
        class_pictures=_class_pictures(model, cells, own),
        channels=spec.channels if len(spec.channels) > 1 else (),
        places=None if cells.bodies is None else _places(own, cells.bodies, called, spec.classes),
        typical=typical,
        doubtful=doubtful,
    )


def _maps(
    model: CellModel, pixels: NDArray[Any], classes: NDArray[np.int64], **settings: Any
) -> NDArray[np.float32]:
    """Maps of one class or several, (N, K, ...), a batch at a time."""
    parts = [
        model.explain(
            pixels[i : i + _AT_ONCE], torch.from_numpy(classes[i : i + _AT_ONCE]), **settings
        )
        .importance.cpu()
        .numpy()
        for i in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _examples(
    model: CellModel, cells: JudgedCells, methods: list[Method], rows: NDArray[np.int64]
) -> list[ShownCell]:
    x, classes = model.normalised(cells.pixels[rows]), torch.from_numpy(cells.explained[rows])
    maps = [method.maps(x, classes.to(x.device)).cpu().numpy() for method in methods]
    names = [model.spec.classes[k] for k in cells.explained[rows]]
    return [
        ShownCell(cells.pixels[row], np.stack([of_method[i] for of_method in maps]), name)
        for i, (row, name) in enumerate(zip(rows, names, strict=True))
    ]


def _class_pictures(
    model: CellModel, cells: JudgedCells, own: NDArray[np.float32]
) -> list[ShownCell]:
    shown = []
    for k, name in enumerate(model.spec.classes):
        rows = np.flatnonzero(cells.explained == k)
        if not len(rows):
            continue
        bodies = None if cells.bodies is None else cells.bodies[rows]
        planes = own[rows, None]
        if len(model.spec.channels) > 1:
            classes = cells.explained[rows]
            single = _maps(model, cells.pixels[rows], classes, channels="each", rtol=0.1)
            planes = np.concatenate([planes, single[:, 0]], 1)
        crop = mean_picture(cells.pixels[rows].astype(np.float64), bodies)
        maps = mean_picture(planes.astype(np.float64), bodies).astype(np.float32)
        shown.append(ShownCell(crop, maps, f"{name}, mean of {len(rows)} cells"))
    return shown


def _places(
    own: NDArray[np.float32],
    bodies: NDArray[np.bool_],
    called: NDArray[np.int64],
    classes: tuple[str, ...],
) -> pd.DataFrame:
    parts = parts_of_cells(own, bodies)
    seen = np.isfinite(parts[:, 0])
    rows = [
        {
            "class": classes[k],
            "n": int((seen & (called == k)).sum()),
            **dict(
                zip(
                    ("deep inside", "rim", "outside"),
                    parts[seen & (called == k)].mean(0),
                    strict=True,
                )
            ),
        }
        for k in range(len(classes))
        if (seen & (called == k)).any()
    ]
    return pd.DataFrame(rows)


def _typical_and_doubtful(
    model: CellModel, cells: JudgedCells
) -> tuple[list[ShownCell], list[ShownCell]]:
    probabilities = model.probabilities(cells.pixels)
    ranked = np.argsort(-probabilities, 1, kind="stable").astype(np.int64)
    best = np.take_along_axis(probabilities, ranked, 1)
    names = model.spec.classes
    surest = [
        row
        for k in range(len(names))
        for row in _first(np.flatnonzero(ranked[:, 0] == k), -best[:, 0], _TYPICAL)
    ]
    closest = _first(np.arange(len(ranked)), best[:, 0] - best[:, 1], _DOUBTFUL)
    typical = [
        ShownCell(cells.pixels[row], maps, f"{names[ranked[row, 0]]}, {best[row, 0]:.0%}")
        for row, maps in zip(
            surest, _maps(model, cells.pixels[surest], ranked[surest, :1]), strict=True
        )
    ]
    doubtful = [
        ShownCell(
            cells.pixels[row],
            maps,
            f"{names[ranked[row, 0]]} ({best[row, 0]:.0%}) or "
            f"{names[ranked[row, 1]]} ({best[row, 1]:.0%})",
        )
        for row, maps in zip(
            closest, _maps(model, cells.pixels[closest], ranked[closest, :2]), strict=True
        )
    ]
    return typical, doubtful


def _first(rows: NDArray[np.int64], key: NDArray[Any], n: int) -> list[int]:
    chosen: list[int] = rows[np.argsort(key[rows], kind="stable")][:n].tolist()
    return chosen
