r"""What does a map cost, and is the error that is promised the error that is made?

    python benchmarks/explain_cells.py sample_data/demo_model cells.csv
    python benchmarks/explain_cells.py jurkat jurkat_ifc/index.csv --class-column phase4

As fields and batches explain: to the default error of the strongest map of a cell, with what the
model knows of its errors. Time of a cell over that of a bare forward pass of a cell, both many at
once, medians of rounds in turn in one process; true errors against maps that are far more exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import typer
from cases import ratio, times_of
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import read_crops
from numpy.typing import NDArray

from cellcam import load_model
from cellcam.explain.scores import ClassIndex
from cellcam.models.model import CellModel
from cellcam.request import DEFAULT_RTOL

_TRUTH_RTOL = DEFAULT_RTOL / 10


def main(
    folder: Path,
    table: Path,
    class_column: str = "cls",
    only: list[str] = [],  # noqa: B006 - typer wants a list
    cells: int = 64,
    rtol: float = DEFAULT_RTOL,
    rounds: int = 3,
    threads: int = 1,
    seed: int = 1,
    field: str = "plane",
) -> None:
    """Print a line for the map of the call, and one for those of all classes."""
    torch.set_num_threads(threads)
    model = load_model(folder)
    spec = model.spec
    settings = Recipe(field=field, crop_size=spec.crop_size).crop_settings()
    pixels = read_crops(read_cell_table(table, class_column, None, only), settings).pixels
    drawn = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:cells])
    crops = np.asarray(pixels[drawn])
    print(f"{spec.network}, {spec.explaining}, error factor {spec.error_factor:.2f}")
    called = model.logits(crops).argmax(1)
    for name, classes in {"the call": called, f"all {len(spec.classes)}": "all"}.items():
        compare(name, model, crops, classes, rtol, rounds)


def compare(
    name: str,
    model: CellModel,
    crops: NDArray[np.generic],
    classes: ClassIndex,
    rtol: float,
    rounds: int,
) -> None:
    """Print what maps of some classes cost, and how exact they are."""
    x = model.normalised(crops)

    def bare() -> None:
        with torch.inference_mode():
            for part in x.split(model.cells_at_once):
                model.network(part)

    def ours(rtol: float = rtol):
        return model.explain(crops, classes, rtol=rtol, rtol_of="strongest", upsample=False)

    times = times_of({"bare": bare, "ours": ours}, rounds)
    passes = ratio(times, "ours", "bare")
    found, truth = ours(), ours(_TRUTH_RTOL)
    norms = truth.maps.flatten(2).norm(dim=2)
    strongest = norms.amax(1)
    true = (found.maps - truth.maps).flatten(2).norm(dim=2).amax(1) / strongest
    estimated = (found.error * found.maps.flatten(2).norm(dim=2)).amax(1) / strongest
    print(
        f"| {name} | {passes:.0f} | {found.n_evaluations.float().mean():.1f} "
        f"| {true.median():.1%}, {true.quantile(0.95):.1%} "
        f"| {(estimated >= true).float().mean():.0%} "
        f"| {(estimated / true).nanmedian():.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
