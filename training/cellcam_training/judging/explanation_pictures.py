"""Pictures in the report on explanations: examples, class means, typical and doubtful cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.evaluate.localisation import parts_of_cells
from cellcam.evaluate.mean_cell import mean_picture
from cellcam.evaluate.method import Method
from cellcam.models.model import CellModel
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.explanation_page import ExplanationReport
from cellcam_training.judging.explanation_evaluation import ExplainedCells, methods_for
from cellcam_training.tables.image_crops import Pixels

_EXAMPLES, _TYPICAL_PER_CLASS, _DOUBTFUL = 6, 2, 6
_AT_ONCE = 64
_MEAN_MAP_RTOL = 0.1


def with_pictures(
    report: ExplanationReport, model: CellModel, cells: ExplainedCells
) -> ExplanationReport:
    """The report with its pictures; for 2-D models."""
    spec, called = model.spec, cells.explained
    maps = _maps(model, cells.pixels, called)[:, 0]
    examples = np.random.default_rng(1).permutation(len(called))[:_EXAMPLES]
    methods = methods_for(model, model.normalised(cells.pixels))
    typical, doubtful = _typical_and_doubtful(model, cells)
    bodies = cells.bodies
    return replace(
        report,
        examples=_examples(model, cells, methods, np.sort(examples)),
        example_methods=[method.name for method in methods],
        class_pictures=_class_means(model, cells, maps),
        channels=spec.channels if len(spec.channels) > 1 else (),
        places=None if bodies is None else _importance_by_place(maps, bodies, called, spec.classes),
        typical=typical,
        doubtful=doubtful,
    )


def _maps(model: CellModel, pixels: Pixels, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Importance maps (N, K, y, x) of classes (N,) or (N, K), computed in batches."""
    parts = [
        model.explain(pixels[i : i + _AT_ONCE], torch.from_numpy(classes[i : i + _AT_ONCE]))
        .importance.cpu()
        .numpy()
        for i in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _channel_maps(
    model: CellModel, pixels: Pixels, classes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Importance maps (N, C, y, x) of each input channel, for classes (N,)."""
    parts = []
    for i in range(0, len(pixels), _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        explained = model.explain(
            pixels[part], torch.from_numpy(classes[part]), channels="each", rtol=_MEAN_MAP_RTOL
        )
        parts.append(explained.importance[:, 0].cpu().numpy())
    return np.concatenate(parts)


def _examples(
    model: CellModel, cells: ExplainedCells, methods: list[Method], rows: NDArray[np.int64]
) -> list[ShownCell]:
    """Cells with the maps of all methods."""
    x, classes = model.normalised(cells.pixels[rows]), torch.from_numpy(cells.explained[rows])
    maps = [method.maps(x, classes.to(x.device)).cpu().numpy() for method in methods]
    names = [model.spec.classes[k] for k in cells.explained[rows]]
    return [
        ShownCell(cells.pixels[row], np.stack([of_method[i] for of_method in maps]), name)
        for i, (row, name) in enumerate(zip(rows, names, strict=True))
    ]


def _class_means(
    model: CellModel, cells: ExplainedCells, maps: NDArray[np.float32]
) -> list[ShownCell]:
    """Mean crop of each class, with the mean map and the mean map of each channel."""
    shown = []
    for k, name in enumerate(model.spec.classes):
        rows = np.flatnonzero(cells.explained == k)
        if not len(rows):
            continue
        bodies = None if cells.bodies is None else cells.bodies[rows]
        planes = maps[rows, None]
        if len(model.spec.channels) > 1:
            by_channel = _channel_maps(model, cells.pixels[rows], cells.explained[rows])
            planes = np.concatenate([planes, by_channel], 1)
        crop = mean_picture(cells.pixels[rows].astype(np.float64), bodies)
        mean_maps = mean_picture(planes.astype(np.float64), bodies).astype(np.float32)
        shown.append(ShownCell(crop, mean_maps, f"{name}, mean of {len(rows)} cells"))
    return shown


def _importance_by_place(
    maps: NDArray[np.float32],
    bodies: NDArray[np.bool_],
    called: NDArray[np.int64],
    classes: tuple[str, ...],
) -> pd.DataFrame:
    """Mean share of the importance deep inside the cells of each class, in the rim, outside."""
    parts = parts_of_cells(maps, bodies)
    measured = np.isfinite(parts[:, 0])
    rows = []
    for k, name in enumerate(classes):
        cells = measured & (called == k)
        if cells.any():
            deep, rim, outside = parts[cells].mean(0)
            places = {"deep inside": deep, "rim": rim, "outside": outside}
            rows.append({"class": name, "n": int(cells.sum()), **places})
    return pd.DataFrame(rows)


def _typical_and_doubtful(
    model: CellModel, cells: ExplainedCells
) -> tuple[list[ShownCell], list[ShownCell]]:
    """The surest calls of each class, and the calls with the smallest margin to the next class."""
    probabilities = model.probabilities(cells.pixels)
    ranked = np.argsort(-probabilities, 1, kind="stable").astype(np.int64)
    best = np.take_along_axis(probabilities, ranked, 1)
    names = model.spec.classes
    surest = [
        row
        for k in range(len(names))
        for row in _smallest(np.flatnonzero(ranked[:, 0] == k), -best[:, 0], _TYPICAL_PER_CLASS)
    ]
    closest = _smallest(np.arange(len(ranked)), best[:, 0] - best[:, 1], _DOUBTFUL)
    typical = [
        ShownCell(cells.pixels[row], maps, f"{names[ranked[row, 0]]}, {best[row, 0]:.0%}")
        for row, maps in zip(
            surest, _maps(model, cells.pixels[surest], ranked[surest, :1]), strict=True
        )
    ]
    doubtful = [
        ShownCell(
            cells.pixels[row],
            maps,
            f"{names[ranked[row, 0]]} ({best[row, 0]:.0%}) or "
            f"{names[ranked[row, 1]]} ({best[row, 1]:.0%})",
        )
        for row, maps in zip(
            closest, _maps(model, cells.pixels[closest], ranked[closest, :2]), strict=True
        )
    ]
    return typical, doubtful


def _smallest(rows: NDArray[np.int64], key: NDArray[np.floating], n: int) -> list[int]:
    """The ``n`` rows with the smallest key."""
    chosen: list[int] = rows[np.argsort(key[rows], kind="stable")][:n].tolist()
    return chosen
