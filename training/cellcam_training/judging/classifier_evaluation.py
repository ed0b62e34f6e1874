"""Evaluation of a classifier on a cell table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.models.model import CellModel
from cellcam.models.spec import ModelSpec
from cellcam.pipeline.notes import unlike_notes
from cellcam.progress import Progress, nobody
from cellcam.reporting.classifier_page import write_classifier_page
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.predictions import LabelledPredictions, Metrics
from cellcam_training.judging.sample_crops import sample_crops
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crop_size import described
from cellcam_training.tables.crops import (
    CropSet,
    crops_for_model,
    image_opener,
    settings_for_model,
)
from cellcam_training.tables.image_crops import Pixels
from cellcam_training.tables.places_fit import misplaced

_LOOKED_AT = 1000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known after an evaluation.

    Attributes
    ----------
    metrics : content of ``metrics.json``: see `classification_metrics`, ``intervals``, and
        ``trained_on``: number of these cells that the model was trained on, None if that is unknown
    crops, predictions : of all cells of the table
    warnings : reasons to doubt images and places of the cells, and that the model is made for them
    """

    metrics: Metrics
    crops: CropSet
    predictions: LabelledPredictions
    warnings: tuple[str, ...] = ()


def evaluate_model(
    table: CellTable,
    model: CellModel,
    out: Path,
    channels: tuple[str, ...] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model; write ``metrics.json``, ``calls.csv`` and ``report.html``.

    Parameters
    ----------
    table : cells with their classes
    out : folder for the results
    channels : names of the images' channels, overruling those in the files
    folder : of the model, which says on which cells it was trained

    Raises
    ------
    InputError
        If the table has classes that the model does not know, or its images lack a channel.
    """
    spec, say = model.spec, progress or nobody
    say(0, 0, "reading cells")
    crops = crops_for_model(table, spec, channels)
    say(0, 0, f"classifying {len(table.rows)} cells")
    settings = settings_for_model(table, spec, channels)
    doubts = crops.warnings + misplaced(table, settings, image_opener(table, settings))
    doubts += _about_looks(np.asarray(crops.pixels[_some(len(table.rows))]), model)
    predictions = predict_table(table, model, crops)
    say(0, 0, "intervals and pictures")
    seen = _seen(crops, model, folder)
    with whole_file(out / "calls.csv") as temporary:
        _calls(table, predictions, spec.classes, seen).to_csv(temporary, index=False)
    judged_on, warnings = _about_training(seen)
    report = classifier_report(
        [model],
        np.zeros(len(predictions.truth), int),
        crops.pixels,
        predictions,
        "A cell classifier on new cells",
        f"{spec.network}, evaluated on {len(predictions.truth)} cells.",
        judged_on,
        warnings=(*warnings, *doubts, *table.warnings),
        samples=sample_crops(table, spec.crop_size, spec.channels, partial(_read, spec, channels)),
        crops=described(replace(crops.choice, why="as the model sees cells")),
    )
    write_classifier_page(out / "report.html", report)
    metrics = {**report.metrics, "trained_on": None if seen is None else int(seen.sum())}
    write_json(out / "metrics.json", metrics)
    return Evaluation(metrics, crops, predictions, doubts)


def _some(n_cells: int) -> NDArray[np.int64]:
    """Numbers of cells that are enough to say whether cells look like those of the training."""
    return np.sort(np.random.default_rng(0).permutation(n_cells)[:_LOOKED_AT])


def _about_looks(pixels: Pixels, model: CellModel) -> tuple[str, ...]:
    """Warning of cells that look unlike those that the model was trained on."""
    seen = model.unlike(pixels)
    looks = {"unlike": seen.values, "differs": seen.differs, "differs_by": seen.by}
    return tuple(unlike_notes(pd.DataFrame(looks)))


def _read(
    spec: ModelSpec, channels: tuple[str, ...] | None, part: CellTable, size: tuple[int, ...]
) -> Pixels:
    """Crops of a table as the model sees them, at another size."""
    return crops_for_model(part, spec.model_copy(update={"crop_size": size}), channels).pixels


def _seen(crops: CropSet, model: CellModel, folder: Path | None) -> NDArray[np.bool_] | None:
    """Whether the model was trained on each cell, (N,); None if its folder does not say so."""
    split = folder / "docs" / "split.csv" if folder else None
    if split is None or not split.is_file():
        return None
    listed = pd.read_csv(split, dtype=str, keep_default_na=False)
    if not {"crop", "split"} <= set(listed):
        return None
    # The network of a validated training was kept from the cells that judged it.
    on_all = model.spec.training.get("on_all_cells") is not False
    used = listed if on_all else listed[listed["split"] == "train"]
    return np.isin(crops.fingerprints(), used["crop"].to_numpy(str))


def _about_training(seen: NDArray[np.bool_] | None) -> tuple[str, tuple[str, ...]]:
    """End of the sentence on what was measured, and warnings."""
    if seen is None:
        return "of this table; if it was trained on some of them, the metrics are too good", ()
    if not seen.any():
        return "of this table, on none of which it was trained", ()
    warning = (
        f"The model was trained on {seen.sum()} of these {len(seen)} cells: the metrics are too "
        "good. calls.csv says which (in_training)."
    )
    return f"of this table, on {seen.sum()} of which it was trained", (warning,)


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
    table: CellTable,
    predictions: LabelledPredictions,
    classes: tuple[str, ...],
    seen: NDArray[np.bool_] | None,
) -> pd.DataFrame:
    """One row for each cell: true class, called class and all probabilities."""
    probabilities = predictions.probabilities
    calls = pd.DataFrame(
        {
            "image": [Path(name).name for name in table.rows["image"]],
            "row": table.rows["row"],
            "cls": table.rows["cls"],
            "class": [classes[i] for i in probabilities.argmax(1)],
            "probability": probabilities.max(1),
            **{f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)},
        }
    )
    return calls if seen is None else calls.assign(in_training=seen)
