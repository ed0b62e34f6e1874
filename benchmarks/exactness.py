r"""Do less exact maps find the planted evidence as well?

    python benchmarks/exactness.py --out planted

Maps of the call to several errors, on simulated cells whose evidence is known, beside maps to
0.3 %: the section on exactness in docs/performance.md. Uses the networks of the planted benchmark
that are in the folder, see `benchmarks/difference_maps.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellcam_training.fitting.error_factor import measured_error_factor
from cellcam_training.simulated.planted_cells import DIFFICULTIES, simulate_cells
from cellcam_training.simulated.planted_table import TEST_SEED
from numpy.typing import NDArray
from torch import Tensor

from cellcam import load_model
from cellcam.evaluate.localisation import energy_inside, largest_inside
from cellcam.evaluate.statistics import bootstrap_mean
from cellcam.models.model import CellModel

_EXACT, _ASKED = 0.003, (0.03, 0.05, 0.1)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the planted benchmark's networks.")],
    cells: Annotated[int, typer.Option(help="Cells that judge, of each difficulty.")] = 200,
    threads: int = 1,
) -> None:
    """Print a table in Markdown: means, and intervals of paired differences from exact maps."""
    torch.set_num_threads(threads)
    print("| cells | asked | points | EBPG | less exact by | Bbox | less exact by |")
    print("|---|---|---|---|---|---|---|")
    for name in DIFFICULTIES:
        if not (out / name / "model").is_dir():
            continue
        model = load_model(out / name / "model", "cpu")
        factor = measured_error_factor(model, simulate_cells(name, 100, TEST_SEED + 1).pixels)
        model = model.with_spec(error_factor=factor)
        judges = simulate_cells(name, cells, TEST_SEED)
        planted = torch.from_numpy(judges.evidence.any(1))
        some = planted.flatten(1).any(1)
        pixels, planted = judges.pixels[some.numpy()], planted[some]
        exact, _ = localisation(model, pixels, planted, _EXACT)
        for rtol in _ASKED:
            metrics, points = localisation(model, pixels, planted, rtol)
            texts = []
            for ours, truth in zip(metrics, exact, strict=True):
                change = bootstrap_mean((ours - truth).nan_to_num().numpy())
                texts += [f"{ours.nanmean():.3f}", f"{change.low:+.4f} to {change.high:+.4f}"]
            title = f"{name} ({len(pixels)}), factor {factor:.2f}"
            print(f"| {title} | {rtol:.0%} | {points:.0f} | {' | '.join(texts)} |", flush=True)


def localisation(
    model: CellModel, pixels: NDArray[np.generic], planted: Tensor, rtol: float
) -> tuple[list[Tensor], float]:
    """EBPG and Bbox of each map of the call, and points that a map took in the mean."""
    explained = model.explain(pixels, rtol=rtol)
    maps = explained.importance[:, 0]
    metrics = [metric(maps, planted) for metric in (energy_inside, largest_inside)]
    return metrics, float(explained.n_evaluations.float().mean())


if __name__ == "__main__":
    typer.run(main)
