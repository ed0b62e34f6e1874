"""What a training leaves in its model folder: the report, the description, the split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from cellcam.reporting.classifier_page import ClassifierReport
from cellcam.reporting.sample_page import ClassSamples
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.course import course_of
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.weight_origins import weight_origins
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.sample_crops import sample_crops
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crop_size import described
from cellcam_training.tables.crops import CropSet, CropSettings, read_crops
from cellcam_training.tables.image_crops import Pixels

if TYPE_CHECKING:
    from cellcam_training.fitting.trainer import FittedModel


def sample_crops_of(table: CellTable, crops: CropSet, recipe: Recipe) -> list[ClassSamples]:
    """Some crops of each class, in the field around them."""

    def read(part: CellTable, size: tuple[int, ...]) -> Pixels:
        settings = CropSettings(size, recipe.channels, crops.pixel_size_um, recipe.field)
        return read_crops(part, settings).pixels

    return sample_crops(table, crops.crop_size, crops.channels, read)


def training_report(
    table: CellTable, crops: CropSet, recipe: Recipe, fitted: FittedModel
) -> ClassifierReport:
    """Report on the validation of a training."""
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
        warnings=(*table.warnings, *course_of(table, crops, recipe).warnings()),
        samples=sample_crops_of(table, crops, recipe),
        crops=described(crops.choice),
    )


def description(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    fitted: FittedModel,
    report: ClassifierReport,
    seconds: float,
) -> dict[str, JsonValue]:
    """Entry ``training`` of the model's description."""
    truth = table.truth()
    return {
        "network_chosen": fitted.why_network,
        "crops_chosen": described(crops.choice),
        "validation": dict(report.metrics),
        "validation_networks": len(fitted.judges),
        "on_all_cells": fitted.on_all_cells,
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][fitted.held_out])),
        "epochs": len(fitted.history),
        "seconds": seconds,
        "recipe": recipe.model_dump(mode="json") | {"network": fitted.model.spec.network},
        **weight_origins(recipe),
    }


def write_split(
    path: Path, rows: pd.DataFrame, crops: CropSet, judge_of: NDArray[np.int64]
) -> None:
    """Write which rows of the cell table were used for training and which for validation.

    The hash of each cell tells a later evaluation that the model was trained on it.
    """
    names = np.where(judge_of >= 0, "val", "train")
    if judge_of.max() > 0:
        names = np.array([f"fold {k + 1}" for k in judge_of])
    table = pd.DataFrame({"row": rows["row"], "cls": rows["cls"], "group": rows["group"]})
    with whole_file(path) as temporary:
        table = table.assign(split=names, crop=crops.fingerprints())
        table.to_csv(temporary, index=False)
