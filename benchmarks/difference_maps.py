r"""Does the map of a difference of two classes name the planted evidence between them?

    python benchmarks/difference_maps.py --out planted

Compares it with the map of the call, on simulated cells whose evidence is known: the figures of the
section on differences in docs/evidence.md. Trains the networks of the planted benchmark unless
they are in the folder already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellcam_training.simulated.planted_cells import (
    CHANNELS,
    DIFFICULTIES,
    PlantedCells,
    simulate_cells,
)
from cellcam_training.simulated.planted_table import TEST_SEED, planted_model
from numpy.typing import NDArray
from torch import Tensor

from cellcam import load_model
from cellcam.evaluate.localisation import energy_inside, largest_inside
from cellcam.evaluate.statistics import bootstrap_mean
from cellcam.models.model import CellModel

# Stains that hold the evidence of a class.
EVIDENCE = {
    "none": set(),
    "micronucleus": {"DNA"},
    "asters": {"tubulin"},
    "foci": {"marker"},
    "both": {"tubulin", "marker"},
    **{f"dot_{stain}": {stain} for stain in CHANNELS},
}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the planted benchmark's networks.")],
    cells: Annotated[int, typer.Option(help="Cells that judge, of each difficulty.")] = 100,
    training: Annotated[int, typer.Option(help="Cells that train, of each difficulty.")] = 800,
    epochs: int = 30,
    threads: int = 1,
) -> None:
    """Print a table in Markdown."""
    torch.set_num_threads(threads)
    print(
        "| cells | other class | pairs | EBPG: call | difference | beyond the call "
        "| Bbox: call | difference | beyond the call |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in DIFFICULTIES:
        folder = out / name
        if (folder / "model").is_dir():
            model = load_model(folder / "model", "cpu")
        else:
            model = planted_model(folder, name, training, epochs, "cpu")
        for line in _judged(name, model, simulate_cells(name, cells, TEST_SEED)):
            print(line, flush=True)


def _judged(name: str, model: CellModel, cells: PlantedCells) -> Iterator[str]:
    """Lines of the table: all pairs, those with the runner-up, those that share evidence."""
    classes = model.spec.classes
    scores = model.logits(cells.pixels)
    called = scores.argmax(1).numpy()
    runner_up = scores.topk(2).indices[:, 1].numpy()
    rows = [i for i, true in enumerate(cells.classes) if classes[called[i]] == true]
    pairs = [
        (row, called[row], other)
        for row in rows
        for other in range(len(classes))
        if other != called[row] and _region(cells, row, classes[other]).any()
    ]
    where, first, second = map(np.array, zip(*pairs, strict=True))
    regions = torch.from_numpy(
        np.stack(
            [_region(cells, row, classes[other]) for row, other in zip(where, second, strict=True)]
        )
    )
    call = (
        model.explain(cells.pixels[where], torch.from_numpy(first), formula="complete")
        .maps[:, 0]
        .clamp(min=0)
    )
    both = torch.from_numpy(np.stack([first, second], 1))[:, None]
    difference = model.explain_differences(cells.pixels[where], both).maps[:, 0]
    shares = np.array([bool(EVIDENCE[classes[a]] & EVIDENCE[classes[b]]) for _, a, b in pairs])
    chosen = {
        "every other class": np.ones(len(pairs), bool),
        "the runner-up": runner_up[where] == second,
        "a class with a part of its evidence": shares,
    }
    for title, some in chosen.items():
        if some.any():
            maps = call[some], difference[some].clamp(min=0)
            # Pairs of the same cell are resampled together.
            groups = np.unique(where[some], return_inverse=True)[1]
            yield _line(name, title, maps, regions[some], groups)


def _region(cells: PlantedCells, row: int, other: str) -> NDArray[np.bool_]:
    """Where a cell has evidence that cells of another class do not have: (Y, X)."""
    apart = EVIDENCE[cells.classes[row]] - EVIDENCE[other]
    stains = [CHANNELS.index(stain) for stain in apart]
    region: NDArray[np.bool_] = cells.evidence[row][stains].any(0)
    return region


def _line(
    name: str, title: str, maps: tuple[Tensor, Tensor], regions: Tensor, groups: NDArray[np.int64]
) -> str:
    """One line: means, and intervals from resampled cells."""
    figures = []
    for metric in (energy_inside, largest_inside):
        call, difference = (np.nan_to_num(metric(m, regions).numpy()) for m in maps)
        figures += [call, difference, difference - call]
    means = [bootstrap_mean(values, groups) for values in figures]
    texts = [f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for m in means]
    return f"| {' | '.join([name, title, str(len(regions)), *texts])} |"


if __name__ == "__main__":
    typer.run(main)
