"""Is the error that is promised the error that is made, and what does it cost?

Adaptive maps of real cells against 1,000 steps, and beside the plain Grad-CAM of peers.

cellcam train jurkat_ifc/index.csv --class-column phase4 --out jurkat
python benchmarks/accuracy.py jurkat jurkat_ifc/index.csv --class-column phase4 --cells 250
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from cases import CLASSES, ratio, times_of
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from peers import of_all, peers
from torch import Tensor

from cellcam import IntegratedGradCAM, load_model
from cellcam.explain.explanation import Explanation
from cellcam.models.model import CellModel
from cellcam.models.registry import network_entry

# Cells that go through at once where peers are timed.
TOGETHER = 64


def cells_of(model: CellModel, table: Path, column: str, n: int) -> Tensor:
    """``n`` cells of a table, chosen at random, as the network sees them."""
    crops = read_crops(read_cell_table(table, column), CropSettings()).pixels
    chosen = np.random.default_rng(0).permutation(len(crops))[:n]
    return model.normalised(crops[np.sort(chosen)])


def explainer(model: CellModel, own: bool, score: str) -> IntegratedGradCAM:
    """The paper's maps where CAMs are usually taken, or CellCam's ``own``; at layer resolution."""
    spec = model.spec
    how = {"formula": spec.formula, "baselines": spec.baseline} if own else {}
    layer = spec.target_layer if own else network_entry(spec.network).cam_layer
    how |= {"score": score, "upsample": False}
    return IntegratedGradCAM(model.network, layer, black=model.black(), **how)


def against_many_steps(cam: IntegratedGradCAM, x: Tensor, n_classes: int) -> None:
    """Errors and evaluations of the default call."""
    exactly = {"method": "riemann_trapezoid", "n_steps": 1000}
    called = cam(x, n_steps=1).class_idx[:, 0]
    some = list(range(min(CLASSES, n_classes)))
    for name, classes in {"the called class": called, f"{len(some)} classes": some}.items():
        truth = cam(x, classes, **exactly)
        report(name, cam(x, classes), truth, "map")
        if classes is some:
            report(f"{name}, 1 % of the strongest", cam(x, classes, rtol_of="strongest"), truth)


def report(name: str, ours: Explanation, truth: Explanation, of: str = "strongest") -> None:
    """What was spent, what was reached, and whether the estimate says so."""
    norm = truth.maps.flatten(2).norm(dim=2)
    difference = (ours.maps - truth.maps).flatten(2).norm(dim=2)
    error = torch.where(difference == 0, 0, difference / norm)
    size = norm if of == "map" else norm.amax(1, keepdim=True).expand_as(norm)
    wanted = torch.where(difference == 0, 0, difference / size)
    spent = ours.n_evaluations.float()
    print(
        f"  {name}: evaluations {spent.median():.0f} in the median, "
        f"{spent.quantile(0.95):.0f} at 95 %, {spent.max():.0f} at most; "
        f"error {100 * wanted.median():.2f} % in the median, below 1 % in "
        f"{100 * (wanted < 0.01).float().mean():.1f} %, {100 * wanted.max():.2f} % at most; "
        f"estimate covers {100 * (ours.error >= error).float().mean():.1f} % of "
        f"{error.numel()} maps ({100 * (norm == 0).float().mean():.0f} % of them empty)",
        flush=True,
    )


def beside_plain_grad_cam(
    cam: IntegratedGradCAM, model: CellModel, x: Tensor, rounds: int = 3
) -> None:
    """Time of integrated maps at 1 % over that of peers' plain ones, of the same classes."""
    layer = network_entry(model.spec.network).cam_layer
    classes = list(range(min(CLASSES, len(model.spec.classes))))
    runs = {
        "called class": lambda: cam(x),
        f"{len(classes)} classes": lambda: cam(x, classes),
        f"{len(classes)} classes, 1 % of the strongest": lambda: cam(
            x, classes, rtol_of="strongest"
        ),
        f"{len(classes)} classes, 8 steps": lambda: cam(
            x, classes, method="riemann_trapezoid", n_steps=8
        ),
    }
    for name, maps in peers(model.network, layer).items():
        runs[name] = lambda maps=maps: of_all(maps, [x], classes)  # type: ignore[misc]
    times = times_of(runs, rounds)
    for name in list(runs)[:4]:
        beside = [f"{ratio(times, name, peer):.2f} x {peer}" for peer in list(runs)[4:]]
        print(
            f"  {name}: {', '.join(beside)} (plain, {len(classes)} classes, {len(x)} cells)",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--class-column", default="cls")
    parser.add_argument("--cells", type=int, default=250)
    parser.add_argument("--score", default="logit")
    parser.add_argument("--own", action="store_true", help="CellCam's own maps, not the paper's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--untimed", action="store_true", help="without the times of peers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load_model(given.model)
    x = cells_of(model, given.table, given.class_column, given.cells)
    cam = explainer(model, given.own, given.score)
    told = model.spec.explaining if given.own else f"paper's formula at {cam.target_layers}"
    print(f"{given.table.parent.name}, {len(x)} cells, {model.spec.network}, {told}, {given.score}")
    if not given.untimed:
        beside_plain_grad_cam(cam, model, x[:TOGETHER])
    against_many_steps(cam, x, len(model.spec.classes))
