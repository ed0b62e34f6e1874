"""Evaluation of a classifier on a cell table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cellcam.errors import InputError
from cellcam.models.model import CellModel
from cellcam.reporting.classifier_page import write_classifier_page
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.predictions import LabelledPredictions, Metrics
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import CropSet, crops_for_model


def evaluate_model(
    table: CellTable, model: CellModel, out: Path, channels: tuple[str, ...] | None = None
) -> Metrics:
    """Evaluate a model; write ``metrics.json``, ``calls.csv`` and ``report.html``.

    Parameters
    ----------
    table : cells with their classes
    out : folder for the results
    channels : names of the images' channels, overruling those in the files

    Returns
    -------
    content of ``metrics.json``: see `classification_metrics`, and ``intervals``

    Raises
    ------
    InputError
        If the table has classes that the model does not know, or its images lack a channel.
    """
    spec = model.spec
    crops = crops_for_model(table, spec, channels)
    predictions = predict_table(table, model, crops)
    with whole_file(out / "calls.csv") as temporary:
        _calls(table, predictions, spec.classes).to_csv(temporary, index=False)
    report = classifier_report(
        [model],
        np.zeros(len(predictions.truth), int),
        crops.pixels,
        predictions,
        "A cell classifier on new cells",
        f"{spec.network}, evaluated on {len(predictions.truth)} cells.",
        "of this table; if the network was trained on some of them, the metrics are too good",
        warnings=table.warnings,
    )
    write_classifier_page(out / "report.html", report)
    write_json(out / "metrics.json", report.metrics)
    return dict(report.metrics)


def predict_table(table: CellTable, model: CellModel, crops: CropSet) -> LabelledPredictions:
    """Predictions of a model for every cell of a table.

    Raises
    ------
    InputError
        If the table has classes that the model does not know.
    """
    known = model.spec.classes
    unknown = [name for name in table.classes if name not in known]
    if unknown:
        raise InputError(
            f"The table has cells of {', '.join(unknown)}; the model knows {', '.join(known)}. "
            "Leave those rows out, or rename their class."
        )
    truth = np.array([known.index(name) for name in table.rows["cls"]], np.int64)
    probabilities = model.probabilities(crops.pixels).astype(np.float64)
    return LabelledPredictions(truth, probabilities, group_numbers(table.rows))


def _calls(
    table: CellTable, predictions: LabelledPredictions, classes: tuple[str, ...]
) -> pd.DataFrame:
    """One row for each cell: true class, called class and all probabilities."""
    probabilities = predictions.probabilities
    return pd.DataFrame(
        {
            "image": [Path(name).name for name in table.rows["image"]],
            "row": table.rows["row"],
            "cls": table.rows["cls"],
            "class": [classes[i] for i in probabilities.argmax(1)],
            "probability": probabilities.max(1),
            **{f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)},
        }
    )
