"""Evaluation of explanations on labelled cells: metrics of every method, and sanity checks."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.evaluate.comparison import costs, judge_methods, summary
from cellcam.evaluate.method import Method
from cellcam.evaluate.rivals import OWN, compared_methods, left_out
from cellcam.evaluate.sanity import (
    SanityCheck,
    completeness_check,
    dimension_check,
    integrated_gradcam,
    noise_check,
    randomisation_check,
)
from cellcam.explain.baselines import baseline_images
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.models.model import CellModel
from cellcam.models.registry import network_entry
from cellcam.progress import Progress, nobody
from cellcam.request import DEFAULT_RTOL
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import crops_for_model
from cellcam_training.tables.image_crops import Pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_CELLS = 200
_CHECKED_CELLS = 12
# Checks compare ranks, for which 5 % is enough. With random weights the gradient varies so much
# along the path that 1 % takes minutes.
_CHECKED_RTOL = 0.05


@dataclass(frozen=True, eq=False)
class ExplainedCells:
    """Cells on which explanations are evaluated.

    Attributes
    ----------
    pixels : (N, C, *crop_size) raw crops
    explained : (N,) class that is explained
    regions : (N, *crop_size) bool, where the evidence is known to lie; None if unknown
    bodies : (N, *crop_size) bool, the cells; None if unknown
    groups : (N,) movie, field or plate
    truth : name of ``regions`` in the report
    """

    pixels: Pixels
    explained: NDArray[np.int64]
    regions: NDArray[np.bool_] | None
    bodies: NDArray[np.bool_] | None
    groups: NDArray[np.int64]
    truth: str = ""

    def part(self, rows: NDArray[np.int64]) -> ExplainedCells:
        """The cells with these row numbers."""
        return replace(
            self,
            pixels=self.pixels[rows],
            explained=self.explained[rows],
            regions=None if self.regions is None else self.regions[rows],
            bodies=None if self.bodies is None else self.bodies[rows],
            groups=self.groups[rows],
        )


@dataclass(frozen=True, eq=False)
class ExplanationMetrics:
    """Metrics of all methods; tables as in `cellcam.evaluate.comparison`.

    Attributes
    ----------
    by_cell : metrics of each method on each cell
    summary : means, intervals and tests
    costs : time of each method
    checks : sanity checks of CellCam's maps
    left_out : methods whose packages are missing, each with the command that brings them
    """

    by_cell: pd.DataFrame
    summary: pd.DataFrame
    costs: pd.DataFrame
    checks: tuple[SanityCheck, ...]
    left_out: tuple[str, ...] = ()


def sampled_cells(
    table: CellTable,
    model: CellModel,
    channels: tuple[str, ...] | None = None,
    masks: Path | None = None,
    most: int = MOST_CELLS,
) -> ExplainedCells:
    """Random sample of at most ``most`` cells of a table, each with its called class.

    Raises
    ------
    InputError
        If images or masks do not fit the model.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(table.rows))[:most])
    part = table.part(chosen)
    crops = crops_for_model(part, model.spec, channels)
    regions = cell_regions(part, model.spec, masks)
    truth = "the cell's box" if masks is None and part.place == "box" else "the cell's mask"
    return ExplainedCells(
        crops.pixels,
        model.probabilities(crops.pixels).argmax(1).astype(np.int64),
        regions,
        regions,
        group_numbers(part.rows),
        "" if regions is None else truth,
    )


def measure_explanations(
    model: CellModel, cells: ExplainedCells, progress: Progress | None = None
) -> ExplanationMetrics:
    """Metrics of all methods on the same cells, and sanity checks of CellCam's maps."""
    x = model.normalised(cells.pixels)
    methods = methods_for(model, x)
    classes = torch.from_numpy(cells.explained).to(x.device)
    regions = None if cells.regions is None else torch.from_numpy(cells.regions).to(x.device)
    by_cell = judge_methods(methods, model.network, x, classes, model.black(), regions, progress)
    report = progress or nobody
    report(0, 0, "means, intervals and tests")
    table = summary(by_cell, OWN, cells.groups)
    report(0, 0, "sanity checks")
    checks = sanity_checks(model, x[:_CHECKED_CELLS], classes[:_CHECKED_CELLS])
    return ExplanationMetrics(by_cell, table, costs(by_cell), checks, tuple(left_out()))


def methods_for(model: CellModel, x: Tensor) -> list[Method]:
    """CellCam's explanations of a model, and other methods at the usual layer of Grad-CAM.

    ``x`` (N, C, *spatial) are normalised crops like those that are explained.
    """
    layer = network_entry(model.spec.network).cam_layer
    own = copy.copy(model.explainer)
    own.settings = own.settings.changed(rtol=DEFAULT_RTOL)  # as fields are explained
    return compared_methods(own, layer, x)


def sanity_checks(model: CellModel, x: Tensor, classes: Tensor) -> tuple[SanityCheck, ...]:
    """All sanity checks; 2-D against 3-D only for a 2-D network whose layers exist in 3-D."""
    network, spec, black = model.network, model.spec, model.black()
    layer, baseline = spec.target_layer, spec.baseline
    settings: dict[str, Any] = {
        "formula": spec.formula,
        "baselines": baseline,
        "rtol": _CHECKED_RTOL,
    }
    explain = integrated_gradcam(layer, black, **settings)

    def complete(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        cam = IntegratedGradCAM(network, layer, black=black, formula="complete", baselines=baseline)
        return cam(x, classes, upsample=False).maps[:, 0]

    checks = [
        randomisation_check(explain, network, x, classes),
        noise_check(explain, network, x, classes),
        completeness_check(complete, network, x, classes, baseline_images(baseline, x, black)),
    ]
    if spec.spatial_dims == 2:
        explain_3d = integrated_gradcam(layer, black.unsqueeze(2), **settings)

        def explain_2d_or_3d(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
            return (explain_3d if x.ndim == 5 else explain)(network, x, classes)

        # A layer without a 3-D counterpart raises ValueError; there is nothing to compare.
        with suppress(ValueError):
            checks.append(dimension_check(explain_2d_or_3d, network, x, classes))
    return tuple(checks)
