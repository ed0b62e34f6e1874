"""The demo: the packaged stack explained with the packaged model, and checked against its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam import samples
from cellcam.evaluate.localisation import energy_inside
from cellcam.models.bundle import load_model
from cellcam.pipeline.explain_field import FieldResult
from cellcam.pipeline.explain_stack import StackResult, explain_stack
from cellcam.progress import Progress
from cellcam.stacks.opening import open_stack

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TruthCheck:
    """How a result compares with the simulated truth.

    Attributes
    ----------
    n_cells, n_found : cells that were simulated, and of them found
    n_correct : found cells called correctly
    on_evidence : mean share of a correctly called cell's importance on its planted evidence
    by_chance : the same share for importance spread evenly over the cell's surroundings
    """

    n_cells: int
    n_found: int
    n_correct: int
    on_evidence: float
    by_chance: float


def run_demo(
    out: Path, device: str = "auto", progress: Progress | None = None
) -> tuple[StackResult, TruthCheck]:
    """Explain the packaged stack with the packaged model, and compare with the truth."""
    import pandas as pd

    model = load_model(samples.sample_path(samples.DEMO_MODEL), device)
    stack = open_stack(samples.sample_path(samples.DEMO_STACK))
    done = explain_stack(stack, model, out, progress=progress)
    truth = pd.read_csv(samples.sample_path(samples.DEMO_TRUTH))
    labels = open_stack(samples.sample_path(samples.DEMO_LABELS)).field()[0]
    evidence = open_stack(samples.sample_path(samples.DEMO_EVIDENCE)).field()[0]
    return done, check_against_truth(done.fields[0], truth, labels, evidence)


def check_against_truth(
    result: FieldResult,
    truth: pd.DataFrame,
    labels: NDArray[Any],
    evidence: NDArray[Any],
) -> TruthCheck:
    """Compare calls and maps with a simulated truth.

    A found cell is the true cell under its centroid. Its importance is what the map of its
    class shows on the pixels that belong to it.

    Parameters
    ----------
    result : of the field, ``classes="predicted"``
    truth : columns label, cls
    labels : (Y, X) true cells
    evidence : (Y, X) label of the cell whose evidence a pixel carries, else 0
    """
    import torch

    from cellcam.cells.cropping import nearest_cells

    classes = dict(zip(truth["label"], truth["cls"], strict=True))
    cells = result.cells
    centre = np.round(cells[["y", "x"]].to_numpy()).astype(int)
    matched = labels[centre[:, 0], centre[:, 1]]
    correct = np.array([classes.get(n) == c for n, c in zip(matched, cells["class"], strict=True)])
    owner = nearest_cells(result.labels, (32, 32))
    shares, chances = [], []
    for row in np.flatnonzero(correct):
        planted = evidence == matched[row]
        around = owner == cells["label"][row]
        if planted.any():
            plane = result.classes.index(cells["class"][row])
            importance = np.where(around, result.maps[plane], 0)
            own = torch.from_numpy(importance[None]), torch.from_numpy(planted[None])
            shares.append(energy_inside(*own).item())
            chances.append((planted & around).sum() / around.sum())
    return TruthCheck(
        n_cells=len(truth),
        n_found=len(set(matched[matched > 0])),
        n_correct=int(correct.sum()),
        on_evidence=float(np.mean(shares)),
        by_chance=float(np.mean(chances)),
    )
