"""Explanations judged on labelled cells: figures of every method, and the sanity checks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.evaluate.comparison import costs, judge_methods, summary
from cellcam.evaluate.rivals import OWN, Method, compared_methods
from cellcam.evaluate.sanity import (
    SanityCheck,
    completeness_check,
    dimension_check,
    integrated_gradcam,
    noise_check,
    randomisation_check,
)
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.explain.path import baseline_images
from cellcam.models.model import CellModel
from cellcam.models.registry import network_entry
from cellcam.progress import Progress
from cellcam_training.fitting.data_split import groups_of
from cellcam_training.judging.classifier_evaluation import matching_crops
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import CellTable

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_CELLS = 200
_CHECKED = 12
# Checks compare ranks; with random weights maps bend everywhere, and 1 % takes minutes.
_CHECKED_RTOL = 0.05


@dataclass(frozen=True, eq=False)
class JudgedCells:
    """Cells whose explanations are judged.

    Attributes
    ----------
    pixels : (N, C, *crop_size) raw crops
    explained : (N,) class that is explained
    regions : (N, *crop_size) bool, where its evidence is known to lie; None if nobody knows
    bodies : (N, *crop_size) bool, the cells; None if unknown
    groups : (N,) movie, field or plate
    truth : what ``regions`` are, for people
    """

    pixels: NDArray[Any]
    explained: NDArray[np.int64]
    regions: NDArray[np.bool_] | None
    bodies: NDArray[np.bool_] | None
    groups: NDArray[np.int64]
    truth: str = ""

    def part(self, rows: NDArray[np.int64]) -> JudgedCells:
        """Some of the cells."""
        return replace(
            self,
            pixels=self.pixels[rows],
            explained=self.explained[rows],
            regions=None if self.regions is None else self.regions[rows],
            bodies=None if self.bodies is None else self.bodies[rows],
            groups=self.groups[rows],
        )


@dataclass(frozen=True, eq=False)
class ExplanationFigures:
    """What was found out; tables as in `cellcam.evaluate.comparison`."""

    judged: pd.DataFrame
    summary: pd.DataFrame
    costs: pd.DataFrame
    checks: tuple[SanityCheck, ...]


def cells_of_table(
    table: CellTable,
    model: CellModel,
    channels: tuple[str, ...] | None = None,
    masks: Path | None = None,
    most: int = MOST_CELLS,
) -> JudgedCells:
    """Cells of a table, at most so many by chance, each explained for the class it is called.

    Raises
    ------
    InputError
        If images or masks do not fit the model.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(table.rows))[:most])
    part = table.part(chosen)
    crops = matching_crops(part, model.spec, channels)
    regions = cell_regions(part, model.spec, masks)
    truth = "the cell's box" if masks is None and part.place == "box" else "the cell's mask"
    return JudgedCells(
        crops.pixels,
        model.probabilities(crops.pixels).argmax(1).astype(np.int64),
        regions,
        regions,
        groups_of(part.rows),
        "" if regions is None else truth,
    )


def judge_explanations(
    model: CellModel, cells: JudgedCells, progress: Progress | None = None
) -> ExplanationFigures:
    """Figures of all methods on the same cells, and the sanity checks of CellCam's own."""
    x, methods = model.normalised(cells.pixels), methods_for(model)
    classes = torch.from_numpy(cells.explained).to(x.device)
    regions = None if cells.regions is None else torch.from_numpy(cells.regions).to(x.device)
    judged = judge_methods(methods, model.network, x, classes, model.black(), regions, progress)
    return ExplanationFigures(
        judged,
        summary(judged, OWN, cells.groups),
        costs(judged),
        sanity_checks(model, x[:_CHECKED], classes[:_CHECKED]),
    )


def methods_for(model: CellModel) -> list[Method]:
    """The explanations of a model, and peers at the layer where they are usually taken."""
    layer = network_entry(model.spec.network).cam_layer
    return compared_methods(model.explainer, layer, model.spec.spatial_dims)


def sanity_checks(model: CellModel, x: Tensor, classes: Tensor) -> tuple[SanityCheck, ...]:
    """All checks; that of 2-D and 3-D where the network is a 2-D one with a 3-D form."""
    network, spec, black = model.network, model.spec, model.black()
    layer, start = spec.target_layer, spec.baseline
    how: dict[str, Any] = {"formula": spec.formula, "baselines": start, "rtol": _CHECKED_RTOL}
    explain = integrated_gradcam(layer, black, **how)

    def complete(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        cam = IntegratedGradCAM(network, layer, black=black, formula="complete", baselines=start)
        return cam(x, classes, upsample=False).maps[:, 0]

    checks = [
        randomisation_check(explain, network, x, classes),
        noise_check(explain, network, x, classes),
        completeness_check(complete, network, x, classes, baseline_images(start, x, black)),
    ]
    if spec.spatial_dims == 2:
        deep = integrated_gradcam(layer, black.unsqueeze(2), **how)

        def either(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
            return (deep if x.ndim == 5 else explain)(network, x, classes)

        # Where a layer has no 3-D form there is nothing to compare.
        with suppress(ValueError):
            checks.append(dimension_check(either, network, x, classes))
    return tuple(checks)
