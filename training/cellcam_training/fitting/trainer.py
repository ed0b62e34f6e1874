"""From a cell table to a model folder: split, fit, calibrate, write."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam import __version__
from cellcam.errors import UsageError
from cellcam.models.bundle import SPEC, load_model, read_spec, save_model
from cellcam.models.model import CellModel
from cellcam.models.spec import ModelSpec
from cellcam.progress import Progress, nobody, staged
from cellcam.reporting.classifier_page import write_classifier_page
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.calibration import (
    cross_fitted,
    fitted_temperature,
    softmax,
    uncertainty_threshold,
)
from cellcam_training.fitting.course import course_of
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.distributed_training import (
    first_process_first,
    is_first_process,
    process_device,
)
from cellcam_training.fitting.epoch_validation import EpochMetrics
from cellcam_training.fitting.error_factor import measured_error_factor
from cellcam_training.fitting.initial_model import initial_model
from cellcam_training.fitting.linear_probe import Features, features_of, fit_probe
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.training_cells import known_cells
from cellcam_training.fitting.training_images import with_training_images
from cellcam_training.fitting.training_loop import fit, write_history
from cellcam_training.fitting.training_report import description, training_report, write_split
from cellcam_training.judging.predictions import LabelledPredictions
from cellcam_training.tables.cell_finding import measured_finding
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import (
    CropSet,
    CropSettings,
    FindingChoice,
    image_opener,
    read_crops,
)
from cellcam_training.tables.table_checks import READY_MADE


def train_model(
    table: CellTable,
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
    crops: CropSet | None = None,
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
    progress : called with (epochs done, epochs at most, metrics), and after the epochs with
        (0, 0, what is being done)
    crops : of the table, as `read_all_crops` returns them, if they have been read

    Returns
    -------
    CellModel
        Trained on all cells, for as many epochs as the model that was validated, whose metrics
        are reported.
    """
    started = time.monotonic()
    scratch = scratch_folder(out)
    crops = crops or read_all_crops(table, recipe, scratch)
    fitted = fit_model(table, crops, recipe, scratch / "final", device, progress)
    if not is_first_process():
        return fitted.model
    say = progress or nobody
    fitted = _measured(fitted, table, crops, recipe, progress)
    say(0, 0, "writing the report")
    report = training_report(table, crops, recipe, fitted)
    seconds = round(time.monotonic() - started, 1)
    training = description(table, crops, recipe, fitted, report, seconds)
    write_history(out / "docs" / "metrics.csv", fitted.history)
    write_split(out / "docs" / "split.csv", table.rows, crops, fitted.judge_of)
    write_classifier_page(out / "docs" / "report.html", report)
    saved = save_model(fitted.model.with_spec(training=training), out)
    shutil.rmtree(scratch)
    return saved


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse a model folder that would lose a model, or that holds something else.

    An unfinished training of this folder is always continued.

    Raises
    ------
    UsageError
        With the way out.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file. Name a folder for the model.")
    if not out.is_dir() or scratch_folder(out).is_dir():
        return
    if (out / SPEC).is_file() and not overwrite:
        raise UsageError(
            f"{out} holds a model already. Name another folder, or replace it with --overwrite."
        )
    others = sorted({file.name for file in out.iterdir()} - {"configs", "models", "docs"})
    if others:
        raise UsageError(
            f"{out} holds {', '.join(others[:3])}, which are no part of a model. Name a new folder."
        )


def scratch_folder(out: Path) -> Path:
    """Folder of the checkpoints and crops of an unfinished training."""
    return out.with_name(f"{out.name}.training")


def read_all_crops(table: CellTable, recipe: Recipe, scratch: Path) -> CropSet:
    """Crops of a table, stored below ``scratch``; the first process reads the images.

    A training that goes on from a model sees fields as that model does.

    Raises
    ------
    ModelError
        If that model cannot be used; no image is read then.
    """
    settings, why, start = recipe.crop_settings(), None, recipe.start_from
    spec = load_model(start, "cpu").spec if start else None
    if start and spec and table.place not in READY_MADE:
        if settings.crop_size is None:
            settings, why = replace(settings, crop_size=spec.crop_size), start.name
        if settings.pixel_size_um is None:
            settings = replace(settings, pixel_size_um=spec.pixel_size_um)
    with first_process_first():
        crops = read_crops(table, settings, scratch / "crops")
    if why:
        crops = replace(crops, why_size=f"as {why}, which it goes on from, sees cells")
    return replace(crops, finding=_finding(table, recipe, settings, crops, spec))


def _finding(
    table: CellTable,
    recipe: Recipe,
    settings: CropSettings,
    crops: CropSet,
    start: ModelSpec | None,
) -> FindingChoice:
    """How the cells of new images will be found: as recipe or earlier model say, or measured."""
    if recipe.finding:
        return FindingChoice(recipe.finding, "as the recipe says")
    if start and start.finding:
        return FindingChoice(start.finding, "as the model says that it goes on from")
    opened = image_opener(table, settings)
    return measured_finding(table, settings, opened, max(crops.crop_size[-2:]))


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
    """Split, fit and calibrate, see `course_of`; ``scratch`` holds the checkpoints."""
    course = course_of(table, crops, recipe)
    recipe, judge_of, why = course.recipe, course.judge_of, course.why_network
    n_judges, again = course.n_judges, course.again
    with first_process_first():
        _discard_outdated(scratch, recipe, crops, table.truth(), judge_of)
    say = progress or nobody
    networks = _Networks(progress and staged(progress, "epochs"), n_judges + again)
    everywhere = np.ones(len(judge_of), bool)
    features: list[Features] = []  # of a backbone, computed once

    def trained(
        measured_on: NDArray[np.bool_], validation: NDArray[np.bool_], name: str
    ) -> tuple[CellModel, list[EpochMetrics]]:
        if recipe.frozen:
            measured_on = everywhere  # all networks see the same features
        model = initial_model(table.classes, recipe, crops, measured_on, process_device(device))
        data = TrainingData(crops.pixels, table.truth(), validation)
        if not recipe.frozen:
            return model, fit(model, recipe, data, scratch / name, networks.next())
        if not features:
            say(0, 0, "computing features")
            features.append(features_of(model, crops.pixels))
        return model, fit_probe(model, data, *features)

    judges, histories = [], []
    for k in range(n_judges):
        without = judge_of == k
        name = "judged" if n_judges == 1 else f"fold_{k}"
        model, history = trained(~without, without, name)
        judges.append(model)
        histories.append(history)
    judges, predictions = _calibrated(judges, judge_of, table, crops, recipe.risk)
    if not again:
        return FittedModel(judges[0], judges, judge_of, why, histories[0], predictions)
    recipe = recipe.model_copy(update={"epochs": len(histories[0])})
    # The pixels of one judge were normalised like this when its temperature was fitted.
    measured_on = judge_of != 0 if n_judges == 1 else everywhere
    model, _ = trained(measured_on, ~everywhere, "all_cells")
    spec = judges[0].spec
    model = model.with_spec(temperature=spec.temperature, uncertain_below=spec.uncertain_below)
    return FittedModel(model, judges, judge_of, why, _mean_history(histories), predictions)


def _measured(
    fitted: FittedModel,
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    progress: Progress | None,
) -> FittedModel:
    """The model with what can be measured on its training cells: their looks, and its errors."""
    model, say = fitted.model, progress or nobody
    rows = np.flatnonzero(fitted.on_all_cells | (fitted.judge_of != 0))
    say(0, 0, "measuring what training cells look like")
    groups = group_numbers(table.rows)[rows]
    earlier = recipe.start_from and load_model(recipe.start_from, "cpu").training_cells
    pixels, seed = crops.pixels[rows], recipe.seed
    cells = known_cells(model, pixels, groups, earlier or None, seed)
    if table.place not in READY_MADE:  # crops do not say which image they are from
        images = np.unique(table.rows["image"].to_numpy(str)[rows], return_inverse=True)[1]
        cells = with_training_images(cells, model.spec.normalisation, pixels, groups, images, seed)
    say(0, 0, "measuring the error of the maps")
    errors = measured_error_factor(model, pixels, seed)
    measured = model.with_training_cells(cells).with_spec(error_factor=errors)
    judges = [measured if judge is model else judge for judge in fitted.judges]
    return replace(fitted, model=measured, judges=judges)


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
