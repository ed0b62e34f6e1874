"""What a judgement of explanations leaves behind: tables, JSON and the report with its pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.evaluate.localisation import parts_of_cells
from cellcam.evaluate.mean_cell import mean_picture
from cellcam.evaluate.rivals import OWN, Method
from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.explanation_page import ExplanationReport, write_explanation_page
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.explanation_evaluation import (
    ExplanationFigures,
    JudgedCells,
    cells_of_table,
    judge_explanations,
    methods_for,
)
from cellcam_training.tables.cell_table import CellTable

SEEN_THROUGH = (
    "Drop % and Increase % see each image through its map: every pixel moves toward the raw black "
    "image by 1 - map / largest value; the “top 15 %” columns keep these pixels and blacken all "
    "others. Insertion and deletion put the most important pixels in, or take them away, first."
)
_EXAMPLES, _TYPICAL, _DOUBTFUL = 6, 2, 6
_AT_ONCE = 64


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
    write_explanation_page(out / f"{name}.html", report)


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
