"""From a cell table to a model folder: split, fit, calibrate, write."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from cellcam import __version__
from cellcam.models.bundle import read_spec, save_model
from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.reporting.classifier_page import ClassifierReport, write_classifier_page
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.calibration import (
    cross_fitted,
    fitted_temperature,
    softmax,
    uncertainty_threshold,
)
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.data_split import validation_cells
from cellcam_training.fitting.distributed_training import (
    first_process_first,
    is_first_process,
    process_device,
)
from cellcam_training.fitting.epoch_validation import EpochMetrics
from cellcam_training.fitting.initial_model import chosen_network, initial_model
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.fitting.training_loop import fit, write_history
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.predictions import LabelledPredictions
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import CropSet, read_crops

# Above this number of cells, training on the validation cells too gains nothing.
_MANY_CELLS = 20_000


def train_model(
    table: CellTable,
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> CellModel:
    """Train a classifier on a cell table and write its model folder.

    During the training ``OUT.training``, beside the model folder, holds checkpoints. After an
    interruption the same call continues and ends with the same weights.

    Parameters
    ----------
    table, recipe : see `read_cell_table` and `read_recipe`
    out : model folder. Its description holds the metrics on the validation cells,
        ``docs/split.csv`` the split, ``docs/metrics.csv`` the metrics of all epochs and
        ``docs/report.html`` a report.
    progress : called with (epochs done, epochs at most, metrics)

    Returns
    -------
    CellModel
        Trained on all cells, for as many epochs as the model that was validated, whose metrics
        are reported.
    """
    started = time.monotonic()
    scratch = scratch_folder(out)
    crops = read_all_crops(table, recipe, scratch)
    fitted = fit_model(table, crops, recipe, scratch / "final", device, progress)
    if not is_first_process():
        return fitted.model
    report = _report(table, crops, fitted)
    seconds = round(time.monotonic() - started, 1)
    training = _description(table, recipe, fitted, report, seconds)
    write_history(out / "docs" / "metrics.csv", fitted.history)
    _write_split(out / "docs" / "split.csv", table.rows, fitted.held_out)
    write_classifier_page(out / "docs" / "report.html", report)
    saved = save_model(fitted.model.with_spec(training=training), out)
    shutil.rmtree(scratch)
    return saved


def scratch_folder(out: Path) -> Path:
    """Folder of the checkpoints and crops of an unfinished training."""
    return out.with_name(f"{out.name}.training")


def read_all_crops(table: CellTable, recipe: Recipe, scratch: Path) -> CropSet:
    """Crops of a table, stored below ``scratch``; the first process reads the images."""
    with first_process_first():
        return read_crops(table, recipe.crop_settings(), scratch / "crops")


@dataclass(frozen=True)
class FittedModel:
    """A calibrated model and its validation.

    Attributes
    ----------
    model : final model
    validated : model trained without the validation cells; it gave ``predictions``
    why_network : reason for the network
    held_out : (N,) bool, the validation cells
    history : metrics of each epoch of ``validated``, see `fit`
    predictions : of ``validated`` for the validation cells
    """

    model: CellModel
    validated: CellModel
    why_network: str
    held_out: NDArray[np.bool_]
    history: list[EpochMetrics]
    predictions: LabelledPredictions

    @property
    def on_all_cells(self) -> bool:
        """Whether ``model`` was trained on the validation cells too, after the validation."""
        return self.model is not self.validated


def fit_model(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    scratch: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> FittedModel:
    """Split, fit and calibrate; ``scratch`` holds the checkpoints.

    Once the validation cells have determined the number of epochs and the temperature, a second
    network is trained in the same way on all cells, because more cells give a better network.
    This is left out if there are many cells, or if the table has a split.
    """
    network, why = chosen_network(recipe, crops.crop_size, len(crops.pixels))
    held_out = validation_cells(table.rows, recipe.validation_share, recipe.seed)
    # Both networks get the same schedule: the temperature of the first must suit the second.
    schedule = schedule_of(recipe, int((~held_out).sum()))
    recipe = recipe.model_copy(update={"network": network, **schedule._asdict()})
    data = TrainingData(crops.pixels, table.truth(), held_out)
    table_has_split = (table.rows["split"] != "").any()
    again = recipe.all_cells and len(held_out) <= _MANY_CELLS and not table_has_split
    with first_process_first():
        _discard_outdated(scratch, recipe, data)
    validated = initial_model(table.classes, recipe, crops, ~held_out, process_device(device))
    first, second = _two_trainings(progress) if again and progress else (progress, None)
    history = fit(validated, recipe, data, scratch / "judged", first)
    validated, predictions = _calibrated(validated, table, data, recipe.risk)
    if not again:
        return FittedModel(validated, validated, why, held_out, history, predictions)
    model = initial_model(table.classes, recipe, crops, ~held_out, process_device(device))
    as_long = recipe.model_copy(update={"epochs": len(history)})
    all_cells = TrainingData(crops.pixels, data.truth, np.zeros_like(held_out))
    fit(model, as_long, all_cells, scratch / "all_cells", second)
    spec = validated.spec
    model = model.with_spec(temperature=spec.temperature, uncertain_below=spec.uncertain_below)
    return FittedModel(model, validated, why, held_out, history, predictions)


def _calibrated(
    model: CellModel, table: CellTable, data: TrainingData, risk: float
) -> tuple[CellModel, LabelledPredictions]:
    """The model with its temperature and threshold, and its predictions for validation cells."""
    held_out = data.validation
    logits = model.logits(data.pixels[held_out]).numpy()
    truth, groups = data.truth[held_out], group_numbers(table.rows)[held_out]
    predictions = LabelledPredictions(truth, cross_fitted(logits, truth, groups), groups)
    temperature = fitted_temperature(logits, truth)
    threshold = uncertainty_threshold(softmax(logits, temperature), truth, risk)
    return model.with_spec(temperature=temperature, uncertain_below=threshold), predictions


def _two_trainings(progress: Progress) -> tuple[Progress, Progress]:
    """Progress callbacks of two trainings in a row that report as a single training."""
    done_first = 0

    def first(done: int, total: int, note: str = "") -> None:
        nonlocal done_first
        done_first = done
        progress(done, 2 * total, note)

    def second(done: int, total: int, note: str = "") -> None:
        progress(done_first + done, done_first + total, f"on all cells: {note}")

    return first, second


def _discard_outdated(scratch: Path, recipe: Recipe, data: TrainingData) -> None:
    """Empty the folder if another version, another recipe or other cells have written it."""
    start = read_spec(recipe.start_from).weights_sha256 if recipe.start_from else ""
    content = hashlib.sha256(f"{__version__} {recipe.model_dump_json()} {start}".encode())
    for array in (data.pixels, data.truth, data.validation):
        content.update(np.ascontiguousarray(array).data)
    fingerprint = scratch / "fingerprint.txt"
    if not fingerprint.is_file() or fingerprint.read_text("utf-8") != content.hexdigest():
        shutil.rmtree(scratch, ignore_errors=True)
        with whole_file(fingerprint) as temporary:
            temporary.write_text(content.hexdigest(), "utf-8")


def _report(table: CellTable, crops: CropSet, fitted: FittedModel) -> ClassifierReport:
    held_out = fitted.held_out
    subtitle = (
        f"{fitted.model.spec.network} ({fitted.why_network}); {len(held_out)} cells, "
        f"{held_out.sum()} of them kept for validation"
    )
    if fitted.on_all_cells:
        subtitle += "; after the validation, the network was trained again on all cells"
    return classifier_report(
        fitted.validated,
        crops.pixels[held_out],
        fitted.predictions,
        "A classifier and its training",
        f"{subtitle}.",
        "that the network was not trained on",
        history=fitted.history,
        warnings=table.warnings,
    )


def _description(
    table: CellTable, recipe: Recipe, fitted: FittedModel, report: ClassifierReport, seconds: float
) -> dict[str, JsonValue]:
    """Entry ``training`` of the model's description."""
    truth = table.truth()
    return {
        "network_chosen": fitted.why_network,
        "validation": dict(report.metrics),
        "on_all_cells": fitted.on_all_cells,
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][fitted.held_out])),
        "epochs": len(fitted.history),
        "seconds": seconds,
        "recipe": recipe.model_dump(mode="json") | {"network": fitted.model.spec.network},
    }


def _write_split(path: Path, rows: pd.DataFrame, held_out: NDArray[np.bool_]) -> None:
    """Write which rows of the cell table were used for training and which for validation."""
    table = pd.DataFrame({"row": rows["row"], "cls": rows["cls"], "group": rows["group"]}).assign(
        split=np.where(held_out, "val", "train")
    )
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
