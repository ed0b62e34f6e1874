"""Files of an evaluation of explanations: tables, JSON and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import JsonValue

from cellcam.errors import InputError
from cellcam.evaluate.rivals import OWN
from cellcam.models.model import CellModel
from cellcam.progress import Progress, nobody
from cellcam.reporting.explanation_page import ExplanationReport, write_explanation_page
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.explanation_evaluation import (
    ExplainedCells,
    ExplanationMetrics,
    measure_explanations,
    sampled_cells,
)
from cellcam_training.judging.explanation_pictures import with_pictures
from cellcam_training.tables.cell_table import CellTable

HOW_PIXELS_ARE_HIDDEN = (
    "Drop % and Increase % see each image through its map: every pixel moves toward the raw black "
    "image by 1 - map / largest value; the “top 15 %” columns keep these pixels and blacken all "
    "others. Insertion and deletion put the most important pixels in, or take them away, first."
)


def evaluate_explanations(
    table: CellTable,
    model: CellModel,
    out: Path,
    channels: tuple[str, ...] | None = None,
    masks: Path | None = None,
    progress: Progress | None = None,
) -> ExplanationMetrics:
    """Evaluate explanations; write ``explanations.csv``, ``.json`` and ``.html``.

    Parameters
    ----------
    table : the cells; if there are more than 200, a random sample of 200
    out : folder for the results
    channels : names of the images' channels, overruling those in the files
    masks : see `cell_regions`

    Raises
    ------
    InputError
        If the table is empty, or images or masks do not fit the model.
    """
    if not len(table.rows):
        raise InputError("There are no cells to evaluate explanations on.")
    report = progress or nobody
    report(0, 0, "reading cells")
    cells = sampled_cells(table, model, channels, masks)
    metrics = measure_explanations(model, cells, progress)
    report(0, 0, "drawing pictures")
    subtitle = f"{model.spec.network}, {model.spec.explaining}; {len(cells.explained)} cells."
    write_results(out, "explanations", model, cells, metrics, subtitle, table.warnings)
    return metrics


def write_results(
    out: Path,
    name: str,
    model: CellModel,
    cells: ExplainedCells,
    metrics: ExplanationMetrics,
    subtitle: str,
    warnings: tuple[str, ...] = (),
) -> None:
    """Write ``NAME.csv`` (every cell), ``NAME.json`` (means, intervals, tests), ``NAME.html``."""
    with whole_file(out / f"{name}.csv") as temporary:
        metrics.by_cell.to_csv(temporary, index=False)
    content = {
        "reference": OWN,
        "seen_through": HOW_PIXELS_ARE_HIDDEN,
        "truth": cells.truth,
        "summary": _json_rows(metrics.summary),
        "costs": _json_rows(metrics.costs),
        "checks": [
            {"name": c.name, **c.figure._asdict(), "expected": c.expected, "passed": c.passed}
            for c in metrics.checks
        ],
    }
    write_json(out / f"{name}.json", content)
    report = ExplanationReport(
        title="Are the explanations right?",
        subtitle=subtitle,
        reference=OWN,
        summary=metrics.summary,
        costs=metrics.costs,
        checks=metrics.checks,
        truth=cells.truth,
        seen_through=HOW_PIXELS_ARE_HIDDEN,
        warnings=(*warnings, *metrics.left_out),
    )
    if model.spec.spatial_dims == 2:
        report = with_pictures(report, model, cells)
    write_explanation_page(out / f"{name}.html", report)


def _json_rows(table: pd.DataFrame) -> list[dict[str, JsonValue]]:
    """Rows of a table, with None for NaN."""
    return [
        {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]
