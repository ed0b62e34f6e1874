"""From a cell table to a model folder: split, fit, calibrate, describe."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.errors import UsageError
from cellcam.explain.splitting import SplitNetwork
from cellcam.models.bundle import save_model
from cellcam.models.device import choose_device
from cellcam.models.model import CellModel, ModelSpec, Normalisation
from cellcam.models.registry import network_entry
from cellcam.reporting.classifier import write_classifier_report
from cellcam.stacks.writing import whole_file
from cellcam_training.batches import Cells
from cellcam_training.calibration import (
    cross_fitted,
    fitted_temperature,
    softmax,
    uncertainty_threshold,
)
from cellcam_training.cell_table import CellTable
from cellcam_training.crops import CropSet, read_crops
from cellcam_training.fitting import Progress, fit, write_history
from cellcam_training.networks import chosen_network, untrained_network
from cellcam_training.processes import first_goes_ahead, is_first, own_device
from cellcam_training.recipe import Recipe
from cellcam_training.report import classifier_report
from cellcam_training.splitting import groups_of, validation_cells
from cellcam_training.validation import Validation

# Crops in memory at a time where all are looked at, as float64.
_AT_ONCE = 1024


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
    progress : called with (epochs done, epochs at most)

    Returns
    -------
    CellModel
        With the weights of the epoch that did best on the validation cells.
    """
    started = time.monotonic()
    scratch = scratch_folder(out)
    crops = read_all_crops(table, recipe, scratch)
    fitted = fit_model(table, crops, recipe, scratch / "final", device, progress)
    if not is_first():
        return fitted.model
    held, truth = fitted.held, table.truth()
    training = {
        "network_chosen": fitted.why,
        "validation": fitted.validation.metrics(table.classes),
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][held])),
        "epochs": len(fitted.history),
        "seconds": round(time.monotonic() - started, 1),
        "recipe": recipe.model_dump(mode="json") | {"network": fitted.model.spec.network},
    }
    model = fitted.model
    spec = model.spec.model_copy(update={"training": training})
    write_history(out / "docs" / "metrics.csv", fitted.history)
    _write_split(out / "docs" / "split.csv", table.rows, held)
    subtitle = (
        f"{spec.network} ({fitted.why}); {len(held)} cells, {held.sum()} of them kept for "
        "validation."
    )
    report = classifier_report(
        model, crops.pixels[held], fitted.validation, "A classifier and its training", subtitle,
        "that the network was not fitted on",
        history=fitted.history, warnings=table.warnings,
    )  # fmt: skip
    write_classifier_report(out / "docs" / "report.html", report)
    saved = save_model(CellModel(spec, model.network, model.device), out)
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
    why : reason for its network
    held : (N,) which cells were kept for validation
    history : figures of each epoch, see `fit`
    validation : what it says on those cells
    """

    model: CellModel
    why: str
    held: NDArray[np.bool_]
    history: list[dict[str, float]]
    validation: Validation


def fit_model(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    scratch: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Fitted:
    """Split, fit and calibrate; ``scratch`` keeps what is needed to go on when interrupted."""
    held = validation_cells(table.rows, recipe.validation_share, recipe.seed)
    cells = Cells(crops.pixels, table.truth(), held)
    network, why = chosen_network(recipe, crops.crop_size)
    recipe = recipe.model_copy(update={"network": network})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = _untrained(table, recipe, crops, cells, own_device(device))
        _check_crop_size(model)
        with first_goes_ahead():
            _prepare(scratch, recipe, cells)
        history = fit(model, recipe, cells, scratch, progress)
    logits = model.logits(crops.pixels[held]).numpy()
    truth, groups = cells.truth[held], groups_of(table.rows)[held]
    probabilities = cross_fitted(logits, truth, groups)
    temperature = fitted_temperature(logits, truth)
    threshold = uncertainty_threshold(softmax(logits, temperature), truth, recipe.risk)
    spec = model.spec.model_copy(update={"temperature": temperature, "uncertain_below": threshold})
    calibrated = CellModel(spec, model.network, model.device)
    return Fitted(calibrated, why, held, history, Validation(truth, probabilities, groups))


def measured_normalisation(pixels: NDArray[Any]) -> Normalisation:
    """Mean and standard deviation of each channel over all crops (N, C, *crop_size).

    One scaling for the whole data set: scaling image by image would erase total intensity,
    which tells G1 from G2.
    """
    space = (0, *range(2, pixels.ndim))
    parts = [pixels[i : i + _AT_ONCE] for i in range(0, len(pixels), _AT_ONCE)]
    share = np.array([len(part) for part in parts]) / len(pixels)
    offset = share @ [part.mean(space, dtype=np.float64) for part in parts]
    around = offset.reshape(1, -1, *[1] * (pixels.ndim - 2))
    variance = share @ [np.square(part - around).mean(space) for part in parts]
    scale = np.maximum(np.sqrt(variance), 1e-6)
    return Normalisation(offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))


def _untrained(
    table: CellTable, recipe: Recipe, crops: CropSet, cells: Cells, device: str
) -> CellModel:
    spec = ModelSpec(
        network=recipe.network,
        spatial_dims=len(crops.crop_size),
        channels=crops.channels,
        classes=table.classes,
        crop_size=crops.crop_size,
        pixel_size_um=crops.pixel_size_um,
        normalisation=measured_normalisation(crops.pixels[~cells.validation]),
        target_layer=network_entry(recipe.network).target_layer,
        field=recipe.field,
        finding=recipe.finding,
    )
    network = untrained_network(spec, recipe)
    return CellModel(spec, network, choose_device(device))


def _check_crop_size(model: CellModel) -> None:
    """Crops must be large enough for the network, and for its explanations to have extent."""
    spec = model.spec
    crop = torch.zeros(1, len(spec.channels), *spec.crop_size, device=model.device)
    try:
        split = SplitNetwork(model.network, spec.target_layer, crop)
        has_extent = split.activations(crop).shape[2:].numel() > 1
    except RuntimeError:  # a pooling or convolution larger than what is left of the crop
        has_extent = False
    if not has_extent:
        raise UsageError(
            f"Crops of {' x '.join(map(str, spec.crop_size))} pixels are too small for "
            f"{spec.network}. Use small_cnn, or a larger crop_size."
        )


def _prepare(scratch: Path, recipe: Recipe, cells: Cells) -> None:
    """Drop what another recipe or other cells left in the folder."""
    content = hashlib.sha256(recipe.model_dump_json().encode())
    for array in (cells.pixels, cells.truth, cells.validation):
        content.update(np.ascontiguousarray(array).data)
    made_for = scratch / "fingerprint.txt"
    if not made_for.is_file() or made_for.read_text("utf-8") != content.hexdigest():
        shutil.rmtree(scratch, ignore_errors=True)
        with whole_file(made_for) as temporary:
            temporary.write_text(content.hexdigest(), "utf-8")


def _write_split(path: Path, rows: pd.DataFrame, held: NDArray[np.bool_]) -> None:
    """Which row of the cell table was used for what."""
    table = pd.DataFrame(
        {"row": np.arange(len(rows)), "cls": rows["cls"], "group": rows["group"]}
    ).assign(split=np.where(held, "val", "train"))
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
