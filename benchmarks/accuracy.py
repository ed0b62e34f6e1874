"""Is the error that is promised the error that is made? Adaptive maps against 1,000 steps.

cellcam train jurkat_ifc/index.csv --class-column phase4 --out jurkat
python benchmarks/accuracy.py jurkat jurkat_ifc/index.csv --class-column phase4 --cells 250
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from cellcam_training.cell_table import read_cell_table
from cellcam_training.crops import read_crops
from cellcam_training.recipe import Recipe

from cellcam import IntegratedGradCAM, load_model


def compare(model_folder: Path, table: Path, column: str, n_cells: int, score: str) -> None:
    model = load_model(model_folder)
    crops = read_crops(read_cell_table(table, column), Recipe()).pixels
    chosen = np.random.default_rng(0).permutation(len(crops))[:n_cells]
    x = model.normalised(crops[np.sort(chosen)])
    cam = IntegratedGradCAM(
        model.network, model.spec.target_layer, black=model.black(), score=score, upsample=False
    )
    truth = cam(x, "all", method="riemann_trapezoid", n_steps=1000)
    called = truth.logits.argmax(1, keepdim=True)
    print(f"{table.parent.name}, {len(x)} cells, {model.spec.network}, score {score}")
    for name, classes in {"the called class": None, "all classes": "all"}.items():
        ours = cam(x, classes)
        rows = called if classes is None else truth.class_idx
        reference = torch.stack([maps[k] for maps, k in zip(truth.maps, rows, strict=True)])
        norm = reference.flatten(2).norm(dim=2)
        error = (ours.maps - reference).flatten(2).norm(dim=2)
        error = torch.where(error == 0, 0, error / norm)
        spent = ours.n_evaluations.float()
        print(
            f"  {name}: evaluations {spent.median():.0f} in the median, "
            f"{spent.quantile(0.95):.0f} at 95 %, {spent.max():.0f} at most; "
            f"error {100 * error.median():.2f} % in the median, below 1 % in "
            f"{100 * (error < 0.01).float().mean():.1f} %, {100 * error.max():.2f} % at most; "
            f"estimate covers {100 * (ours.error >= error).float().mean():.1f} % of "
            f"{error.numel()} maps ({100 * (norm == 0).float().mean():.0f} % of them empty)",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--class-column", default="cls")
    parser.add_argument("--cells", type=int, default=250)
    parser.add_argument("--score", default="logit")
    given = parser.parse_args()
    compare(given.model, given.table, given.class_column, given.cells, given.score)
