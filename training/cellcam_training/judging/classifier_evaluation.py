"""A model judged on cells with known classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellcam.errors import InputError
from cellcam.models.model import CellModel
from cellcam.models.spec import ModelSpec
from cellcam.reporting.classifier_page import write_classifier_page
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.fitting.data_split import groups_of
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.judging.classifier_report import classifier_report
from cellcam_training.judging.predictions import Validation
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSet, read_crops


def evaluate_model(
    table: CellTable, model: CellModel, out: Path, channels: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Judge a model on a cell table; write ``metrics.json``, ``calls.csv`` and ``report.html``.

    Parameters
    ----------
    table : the cells, with their classes
    out : folder for the results
    channels : names of the images' channels, overruling the files'

    Returns
    -------
    what stands in ``metrics.json``: see `classification_metrics`, and ``intervals``

    Raises
    ------
    InputError
        If the table has classes that the model does not know, or its images other channels.
    """
    spec = model.spec
    crops = matching_crops(table, spec, channels)
    judged = judge(table, model, crops)
    called = judged.probabilities.argmax(1)
    calls = pd.DataFrame(
        {
            "image": [Path(name).name for name in table.rows["image"]],
            "row": table.rows["row"],
            "cls": table.rows["cls"],
            "class": [spec.classes[i] for i in called],
            "probability": judged.probabilities.max(1),
            **{f"p_{name}": judged.probabilities[:, i] for i, name in enumerate(spec.classes)},
        }
    )
    with whole_file(out / "calls.csv") as temporary:
        calls.to_csv(temporary, index=False)
    subtitle = f"{spec.network}, judged on {len(called)} cells."
    report = classifier_report(
        model, crops.pixels, judged, "A cell classifier on new cells", subtitle,
        "of this table; if the network was trained on some of them, the figures flatter",
        warnings=table.warnings,
    )  # fmt: skip
    write_classifier_page(out / "report.html", report)
    write_json(out / "metrics.json", report.metrics)
    return dict(report.metrics)


def matching_crops(
    table: CellTable, spec: ModelSpec, channels: tuple[str, ...] | None = None
) -> CropSet:
    """The crops of a table as a model wants them: its size, scale and order of channels."""
    recipe = Recipe(
        crop_size=spec.crop_size,
        channels=channels,
        pixel_size_um=spec.pixel_size_um if table.place != "index" else None,
        field=spec.field,
    )
    crops = read_crops(table, recipe)
    if len(spec.channels) == len(crops.channels) == 1:
        return crops
    missing = [name for name in spec.channels if name not in crops.channels]
    if missing:
        raise InputError(
            f"The model wants the channels {', '.join(spec.channels)}; the images have "
            f"{', '.join(crops.channels)}. Name them in the files' order (--channels A,B,...)."
        )
    order = [crops.channels.index(name) for name in spec.channels]
    return CropSet(crops.pixels[:, order], spec.channels, crops.pixel_size_um)


def judge(table: CellTable, model: CellModel, crops: CropSet) -> Validation:
    """What the model says about every cell of the table."""
    known = model.spec.classes
    unknown = [name for name in table.classes if name not in known]
    if unknown:
        raise InputError(
            f"The table has cells of {', '.join(unknown)}; the model knows {', '.join(known)}. "
            "Leave those rows out, or rename their class."
        )
    truth = np.array([known.index(name) for name in table.rows["cls"]], np.int64)
    probabilities = model.probabilities(crops.pixels).astype(np.float64)
    return Validation(truth, probabilities, groups_of(table.rows))
