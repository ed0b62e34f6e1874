"""CellCam's own maps: their cost in bare forward passes of the same network, and their error.

python benchmarks/complete_maps.py sample_data/demo_model sample_data/demo_cells.truth.csv
python benchmarks/complete_maps.py mitocheck mitocheck_h2b/index.csv --cells 48
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from cases import Run, ratio, times_of
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import crops_for_model
from torch import Tensor

from cellcam import load_model
from cellcam.models.model import CellModel

# Cells of a bare pass, the faster of the two.
_AT_ONCE = (16, 64)


def cells_of(model: CellModel, table: Path, column: str, n: int) -> Tensor:
    """``n`` cells of a table, at equal distances, as the network sees them."""
    crops = crops_for_model(read_cell_table(table, column, to_train=False), model.spec).pixels
    chosen = np.linspace(0, len(crops) - 1, min(n, len(crops))).astype(int)
    return model.normalised(crops[chosen])


def bare(model: CellModel, x: Tensor, at_once: int) -> Run:
    def run() -> None:
        with torch.inference_mode():
            for part in x.split(at_once):
                model.network(part)

    return run


def cost(model: CellModel, x: Tensor, rtol: float, rounds: int) -> None:
    """Time of a cell's maps over that of one bare forward pass."""
    cam = model.explainer
    called = cam(x, n_steps=1).class_idx[:, 0]
    runs: dict[str, Run] = {f"bare, {n} at once": bare(model, x, n) for n in _AT_ONCE}
    runs["called class"] = lambda: cam(x, called, rtol=rtol)
    runs["all classes, to a share of the strongest"] = lambda: cam(
        x, "all", rtol=rtol, rtol_of="strongest"
    )
    runs["all classes, each to its own"] = lambda: cam(x, "all", rtol=rtol)
    times = times_of(runs, rounds)
    floor = min(list(runs)[:2], key=lambda name: statistics.median(times[name]))
    print(f"  {floor}: {1000 * statistics.median(times[floor]) / len(x):.2f} ms a cell")
    for name in list(runs)[2:]:
        print(f"  {name}: {ratio(times, name, floor):.1f} bare passes", flush=True)


def error(model: CellModel, x: Tensor, rtol: float, n_steps: int) -> None:
    """True error of the called classes' maps, and whether the estimate says so."""
    cam = model.explainer
    found = cam(x, rtol=rtol, upsample=False)
    truth = cam(x, method="riemann_trapezoid", n_steps=n_steps, upsample=False).maps
    true = (found.maps - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    estimate, points = found.error[:, 0], found.n_evaluations.float()
    print(
        f"  asked {rtol:.0%}: points {points.median():.0f} in the median, "
        f"{points.max():.0f} at most; true error {100 * true.median():.2f} % in the median, "
        f"{100 * true.quantile(0.95):.2f} % at 95 %, {100 * true.max():.2f} % at most; "
        f"estimate covers {100 * (estimate >= true).float().mean():.1f} % of {len(x)} cells and is "
        f"{(estimate / true).median():.2f} times the true error in the median",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--class-column", default="cls")
    parser.add_argument("--cells", type=int, default=48)
    parser.add_argument("--rtol", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of the truth; 0: no errors")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load_model(given.model, "cpu")
    x = cells_of(model, given.table, given.class_column, given.cells)
    print(f"{given.table}, {len(x)} cells, {model.spec.network}, {model.spec.explaining}")
    cost(model, x, given.rtol, given.rounds)
    if given.steps:
        error(model, x, given.rtol, given.steps)
