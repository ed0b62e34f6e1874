"""From a cell table to a model folder: split, fit, calibrate, describe."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam import __version__
from cellcam.models.bundle import save_model
from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.reporting.classifier_page import write_classifier_page
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.calibration import (
    cross_fitted,
    fitted_temperature,
    softmax,
    uncertainty_threshold,
)
from cellcam_training.fitting.data_loader import Cells
from cellcam_training.fitting.data_split import groups_of, validation_cells
from cellcam_training.fitting.distributed_training import first_goes_ahead, is_first, own_device
from cellcam_training.fitting.initial_model import chosen_network, untrained_model
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.fitting.training_loop import fit, write_history
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.predictions import Validation
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSet, read_crops

# With more cells than this, those kept for validation are not missed.
_MANY_CELLS = 20_000
_AND_THEN = "; after they had judged it, the network was trained once more, on all cells"


def train_model(
    table: CellTable,
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> CellModel:
    """Train a classifier on a cell table and write its model folder.

    While it trains, ``OUT.training`` beside the model folder holds what is needed to go on
    after an interruption: the same call then ends with the same weights.

    Parameters
    ----------
    table, recipe : see `read_cell_table` and `read_recipe`
    out : model folder, with the metrics on the validation cells in its description, the
        split in ``docs/split.csv``, the figures of all epochs in ``docs/metrics.csv`` and a
        report in ``docs/report.html``
    progress : called with (epochs done, epochs at most, how it goes)

    Returns
    -------
    CellModel
        Trained on all cells, as long as the one that the validation cells judged,
        whose figures are reported.
    """
    started = time.monotonic()
    scratch = scratch_folder(out)
    crops = read_all_crops(table, recipe, scratch)
    fitted = fit_model(table, crops, recipe, scratch / "final", device, progress)
    if not is_first():
        return fitted.model
    held, truth = fitted.held, table.truth()
    report = classifier_report(
        fitted.judged,
        crops.pixels[held],
        fitted.validation,
        "A classifier and its training",
        f"{fitted.model.spec.network} ({fitted.why}); {len(held)} cells, {held.sum()} of them "
        f"kept for validation{_AND_THEN if fitted.on_all_cells else ''}.",
        "that the network was not fitted on",
        history=fitted.history,
        warnings=table.warnings,
    )
    training = {
        "network_chosen": fitted.why,
        "validation": dict(report.metrics),
        "on_all_cells": fitted.on_all_cells,
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][held])),
        "epochs": len(fitted.history),
        "seconds": round(time.monotonic() - started, 1),
        "recipe": recipe.model_dump(mode="json") | {"network": fitted.model.spec.network},
    }
    write_history(out / "docs" / "metrics.csv", fitted.history)
    _write_split(out / "docs" / "split.csv", table.rows, held)
    write_classifier_page(out / "docs" / "report.html", report)
    saved = save_model(fitted.model.with_spec(training=training), out)
    shutil.rmtree(scratch)
    return saved


def scratch_folder(out: Path) -> Path:
    """Where a training keeps what it needs to go on after an interruption."""
    return out.with_name(f"{out.name}.training")


def read_all_crops(table: CellTable, recipe: Recipe, scratch: Path) -> CropSet:
    """Crops of a table, kept below ``scratch`` and read once, also by several processes."""
    with first_goes_ahead():
        return read_crops(table, recipe, scratch / "crops")


@dataclass(frozen=True)
class Fitted:
    """A calibrated model and how it came to be.

    Attributes
    ----------
    model : CellModel
    judged : the model that the validation cells judged, which was not fitted on them
    why : reason for its network
    held : (N,) which cells were kept for validation
    history : figures of each epoch, see `fit`
    validation : what ``judged`` says on those cells
    """

    model: CellModel
    judged: CellModel
    why: str
    held: NDArray[np.bool_]
    history: list[dict[str, float]]
    validation: Validation

    @property
    def on_all_cells(self) -> bool:
        """Whether ``model`` was fitted on the validation cells too, after they had judged."""
        return self.model is not self.judged


def fit_model(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    scratch: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Fitted:
    """Split, fit and calibrate; ``scratch`` keeps what is needed to go on when interrupted.

    Validation cells are worth more in the training than they cost: once they have chosen the
    number of epochs and the temperature, a second network is trained in the same way on all
    cells, unless there are many or the table itself says which are for validation.
    """
    network, why = chosen_network(recipe, crops.crop_size, len(crops.pixels))
    held = validation_cells(table.rows, recipe.validation_share, recipe.seed)
    # Chosen once: a temperature is that of networks which were trained alike.
    schedule = schedule_of(recipe, int((~held).sum()))
    recipe = recipe.model_copy(update={"network": network, **schedule._asdict()})
    cells = Cells(crops.pixels, table.truth(), held)
    again = recipe.all_cells and len(held) <= _MANY_CELLS and not (table.rows["split"] != "").any()
    with first_goes_ahead():
        _prepare(scratch, recipe, cells)
    judged = untrained_model(table.classes, recipe, crops, ~held, own_device(device))
    first, second = _two_parts(progress) if again and progress else (progress, None)
    history = fit(judged, recipe, cells, scratch / "judged", first)
    logits = judged.logits(crops.pixels[held]).numpy()
    truth, groups = cells.truth[held], groups_of(table.rows)[held]
    validation = Validation(truth, cross_fitted(logits, truth, groups), groups)
    temperature = fitted_temperature(logits, truth)
    threshold = uncertainty_threshold(softmax(logits, temperature), truth, recipe.risk)
    calibration = {"temperature": temperature, "uncertain_below": threshold}
    judged = judged.with_spec(**calibration)
    if not again:
        return Fitted(judged, judged, why, held, history, validation)
    model = untrained_model(table.classes, recipe, crops, ~held, own_device(device))
    as_long = recipe.model_copy(update={"epochs": len(history)})
    whole = Cells(crops.pixels, cells.truth, np.zeros_like(held))
    fit(model, as_long, whole, scratch / "all_cells", second)
    return Fitted(model.with_spec(**calibration), judged, why, held, history, validation)


def _two_parts(progress: Progress) -> tuple[Progress, Progress]:
    """Progress of two trainings, one after the other, as that of a single one."""
    done_first = 0

    def first(done: int, total: int, note: str = "") -> None:
        nonlocal done_first
        done_first = done
        progress(done, 2 * total, note)

    def second(done: int, total: int, note: str = "") -> None:
        progress(done_first + done, done_first + total, f"on all cells: {note}")

    return first, second


def _prepare(scratch: Path, recipe: Recipe, cells: Cells) -> None:
    """Drop what another recipe or other cells left in the folder."""
    content = hashlib.sha256(f"{__version__} {recipe.model_dump_json()}".encode())
    for array in (cells.pixels, cells.truth, cells.validation):
        content.update(np.ascontiguousarray(array).data)
    made_for = scratch / "fingerprint.txt"
    if not made_for.is_file() or made_for.read_text("utf-8") != content.hexdigest():
        shutil.rmtree(scratch, ignore_errors=True)
        with whole_file(made_for) as temporary:
            temporary.write_text(content.hexdigest(), "utf-8")


def _write_split(path: Path, rows: pd.DataFrame, held: NDArray[np.bool_]) -> None:
    """Which row of the cell table was used for what."""
    table = pd.DataFrame({"row": rows["row"], "cls": rows["cls"], "group": rows["group"]}).assign(
        split=np.where(held, "val", "train")
    )
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
