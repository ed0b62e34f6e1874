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
from cellcam.errors import InputError
from cellcam.models.bundle import load_model, read_spec, save_model
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
from cellcam_training.fitting.data_split import fold_numbers, validation_cells
from cellcam_training.fitting.distributed_training import (
    first_process_first,
    is_first_process,
    process_device,
)
from cellcam_training.fitting.epoch_validation import EpochMetrics
from cellcam_training.fitting.initial_model import chosen_network, initial_model
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.fitting.training_cells import known_cells
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
    _write_split(out / "docs" / "split.csv", table.rows, fitted.judge_of)
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
    judges : models that were trained without the cells that they judge; they gave ``predictions``
    judge_of : (N,) number of the judge of each cell; -1 for cells that none judges
    why_network : reason for the network
    history : metrics of each epoch, means over the judges, see `fit`
    predictions : of the judges for the validation cells, in the order of the table
    """

    model: CellModel
    judges: list[CellModel]
    judge_of: NDArray[np.int64]
    why_network: str
    history: list[EpochMetrics]
    predictions: LabelledPredictions

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """The validation cells: (N,) bool."""
        return self.judge_of >= 0

    @property
    def on_all_cells(self) -> bool:
        """Whether ``model`` was trained on the validation cells too, after the validation."""
        return self.model not in self.judges


def fit_model(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    scratch: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> FittedModel:
    """Split, fit and calibrate; ``scratch`` holds the checkpoints.

    Once the validation cells have determined the number of epochs and the temperature, another
    network is trained in the same way on all cells, because more cells give a better network.
    This is left out if there are many cells, or if the table has a split.
    """
    network, why = chosen_network(recipe, crops.crop_size, len(crops.pixels))
    judge_of = _judges(table.rows, recipe)
    n_judges = int(judge_of.max()) + 1
    # All networks get the same schedule: the temperature of the judges must suit the last.
    schedule = schedule_of(recipe, int((judge_of != 0).sum()))
    recipe = recipe.model_copy(update={"network": network, **schedule._asdict()})
    table_has_split = (table.rows["split"] != "").any()
    again = n_judges > 1 or (
        recipe.all_cells and len(judge_of) <= _MANY_CELLS and not table_has_split
    )
    with first_process_first():
        _discard_outdated(scratch, recipe, crops, table.truth(), judge_of)
    networks = _Networks(progress, n_judges + again)

    def trained(
        measured_on: NDArray[np.bool_], validation: NDArray[np.bool_], name: str
    ) -> tuple[CellModel, list[EpochMetrics]]:
        model = initial_model(table.classes, recipe, crops, measured_on, process_device(device))
        data = TrainingData(crops.pixels, table.truth(), validation)
        return model, fit(model, recipe, data, scratch / name, networks.next())

    judges, histories = [], []
    for k in range(n_judges):
        without = judge_of == k
        name = "judged" if n_judges == 1 else f"fold_{k}"
        model, history = trained(~without, without, name)
        judges.append(model)
        histories.append(history)
    judges, predictions = _calibrated(judges, judge_of, table, crops, recipe.risk)
    if not again:
        model = judges[0] = _knowing_its_cells(judges[0], table, crops, judge_of != 0, recipe)
        return FittedModel(model, judges, judge_of, why, histories[0], predictions)
    recipe = recipe.model_copy(update={"epochs": len(histories[0])})
    # The pixels of one judge were normalised like this when its temperature was fitted.
    measured_on = judge_of != 0 if n_judges == 1 else np.ones(len(judge_of), bool)
    model, _ = trained(measured_on, np.zeros(len(judge_of), bool), "all_cells")
    spec = judges[0].spec
    model = model.with_spec(temperature=spec.temperature, uncertain_below=spec.uncertain_below)
    model = _knowing_its_cells(model, table, crops, np.ones(len(judge_of), bool), recipe)
    return FittedModel(model, judges, judge_of, why, _mean_history(histories), predictions)


def _knowing_its_cells(
    model: CellModel,
    table: CellTable,
    crops: CropSet,
    trained_on: NDArray[np.bool_],
    recipe: Recipe,
) -> CellModel:
    """The model with measures of the cells that it was trained on."""
    rows = np.flatnonzero(trained_on)
    groups = group_numbers(table.rows)[rows]
    earlier = recipe.start_from and load_model(recipe.start_from, "cpu").training_cells
    cells = known_cells(model, crops.pixels[rows], groups, earlier or None, recipe.seed)
    return model.with_training_cells(cells)


def _judges(rows: pd.DataFrame, recipe: Recipe) -> NDArray[np.int64]:
    """Number (N,) of the network that is trained without each cell and judges it; -1: none."""
    if not recipe.validation_folds:
        held_out = validation_cells(rows, recipe.validation_share, recipe.seed)
        return np.where(held_out, 0, -1)
    if (rows["split"] != "").any():
        raise InputError(
            "The table has a split column, and the recipe has validation_folds. Leave out one of "
            "them: folds split the cells, too."
        )
    return fold_numbers(rows, recipe.validation_folds, recipe.seed)


def _calibrated(
    judges: list[CellModel],
    judge_of: NDArray[np.int64],
    table: CellTable,
    crops: CropSet,
    risk: float,
) -> tuple[list[CellModel], LabelledPredictions]:
    """The judges with their temperature and threshold, and their predictions of their cells."""
    logits = np.zeros((len(judge_of), len(table.classes)), np.float32)
    for k, judge in enumerate(judges):
        logits[judge_of == k] = judge.logits(crops.pixels[judge_of == k]).numpy()
    held_out = judge_of >= 0
    logits, truth = logits[held_out], table.truth()[held_out]
    groups = group_numbers(table.rows)[held_out]
    predictions = LabelledPredictions(truth, cross_fitted(logits, truth, groups), groups)
    temperature = fitted_temperature(logits, truth)
    threshold = uncertainty_threshold(softmax(logits, temperature), truth, risk)
    calibrated = [j.with_spec(temperature=temperature, uncertain_below=threshold) for j in judges]
    return calibrated, predictions


def _mean_history(histories: list[list[EpochMetrics]]) -> list[EpochMetrics]:
    """Metrics of each epoch, means over several trainings of the same length."""
    return [
        {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for rows in zip(*histories, strict=True)
    ]


class _Networks:
    """Progress of several trainings in a row that report as a single one."""

    def __init__(self, progress: Progress | None, n: int) -> None:
        self._progress, self._n = progress, n
        self._number, self._before, self._done = 0, 0, 0

    def next(self) -> Progress | None:
        """Callback of the next training."""
        self._number += 1
        self._before, self._done = self._before + self._done, 0
        return self._report if self._progress else None

    def _report(self, done: int, total: int, note: str = "") -> None:
        assert self._progress is not None
        self._done = done
        left = self._n - self._number + 1
        text = f"network {self._number} of {self._n}: {note}" if self._n > 1 else note
        self._progress(self._before + done, self._before + left * total, text)


def _discard_outdated(
    scratch: Path,
    recipe: Recipe,
    crops: CropSet,
    truth: NDArray[np.int64],
    judge_of: NDArray[np.int64],
) -> None:
    """Empty the folder if another version, another recipe or other cells have written it."""
    start = read_spec(recipe.start_from).weights_sha256 if recipe.start_from else ""
    content = hashlib.sha256(f"{__version__} {recipe.model_dump_json()} {start}".encode())
    for array in (crops.pixels, truth, judge_of):
        content.update(np.ascontiguousarray(array).data)
    fingerprint = scratch / "fingerprint.txt"
    if not fingerprint.is_file() or fingerprint.read_text("utf-8") != content.hexdigest():
        shutil.rmtree(scratch, ignore_errors=True)
        with whole_file(fingerprint) as temporary:
            temporary.write_text(content.hexdigest(), "utf-8")


def _report(table: CellTable, crops: CropSet, fitted: FittedModel) -> ClassifierReport:
    held_out, n_judges = fitted.held_out, len(fitted.judges)
    subtitle = f"{fitted.model.spec.network} ({fitted.why_network}); {len(held_out)} cells, "
    if n_judges > 1:
        subtitle += f"each judged by one of {n_judges} networks, which had not seen it"
    else:
        subtitle += f"{held_out.sum()} of them kept for validation"
    if fitted.on_all_cells:
        subtitle += "; after the validation, the network was trained again on all cells"
    return classifier_report(
        fitted.judges,
        fitted.judge_of[held_out],
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
        "validation_networks": len(fitted.judges),
        "on_all_cells": fitted.on_all_cells,
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][fitted.held_out])),
        "epochs": len(fitted.history),
        "seconds": seconds,
        "recipe": recipe.model_dump(mode="json") | {"network": fitted.model.spec.network},
    }


def _write_split(path: Path, rows: pd.DataFrame, judge_of: NDArray[np.int64]) -> None:
    """Write which rows of the cell table were used for training and which for validation."""
    names = np.where(judge_of >= 0, "val", "train")
    if judge_of.max() > 0:
        names = np.array([f"fold {k + 1}" for k in judge_of])
    table = pd.DataFrame({"row": rows["row"], "cls": rows["cls"], "group": rows["group"]})
    with whole_file(path) as temporary:
        table.assign(split=names).to_csv(temporary, index=False)
