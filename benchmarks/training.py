"""How fast a training is, and how far its network waits for data.

    python benchmarks/training.py ../shared/data/mitocheck_h2b/index.csv

Cells per second of the data path alone (crops out of their file, and then also normalised and
augmented), of the network alone on a batch that is ready, and of a training as it is; medians
over batches, in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellcam_training.fitting.augmentation import augmented
from cellcam_training.fitting.data_loader import TrainingData, data_loader
from cellcam_training.fitting.initial_model import chosen_network, initial_model
from cellcam_training.fitting.recipe import read_recipe, schedule_of
from cellcam_training.fitting.training_loop import fit
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import read_crops

_BATCHES = 30


def main(
    table: Path,
    class_column: str = "cls",
    recipe: Path | None = None,
    device: str = "cpu",
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    """Print cells per second and the share of the time spent on data."""
    torch.set_num_threads(threads)
    cells_table = read_cell_table(table, class_column)
    chosen = read_recipe(recipe)
    with tempfile.TemporaryDirectory() as folder:
        crops = read_crops(cells_table, chosen.crop_settings(), Path(folder) / "crops")
        chosen = chosen.model_copy(
            update={
                "network": chosen_network(chosen, crops.crop_size, len(crops.pixels))[0],
                "epochs": 1,
            }
        )
        batch_size = schedule_of(chosen, len(crops.pixels)).batch_size
        everything = np.ones(len(crops.pixels), bool)
        model = initial_model(cells_table.classes, chosen, crops, everything, device)
        data = TrainingData(crops.pixels, cells_table.truth(), ~everything)
        random = torch.Generator().manual_seed(0)
        loader = data_loader(data, batch_size, random)

        def stream() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
            while True:
                yield from loader

        batches = stream()
        read = _median(lambda: next(batches))
        crop, truth = next(batches)
        prepare = _median(
            lambda: augmented(model.normalised(crop), chosen.augmentation, random), device
        )
        ready = model.normalised(crop).contiguous(memory_format=torch.channels_last)
        learner = model.network.to(memory_format=torch.channels_last).train()
        optimiser = torch.optim.AdamW(learner.parameters())

        def step() -> None:
            optimiser.zero_grad()
            scores = learner(ready)
            torch.nn.functional.cross_entropy(scores, truth.to(scores.device)).backward()
            optimiser.step()

        compute = _median(step, device)
        started = time.perf_counter()
        fit(model, chosen, data, Path(folder) / "training")
        whole = (time.perf_counter() - started) / len(data.truth)
    n = len(truth)
    for name, seconds in {
        "reading crops": read / n,
        "normalising and augmenting": prepare / n,
        "the network, forward and backward": compute / n,
        "a training, everything": whole,
    }.items():
        print(f"{name:34} {1 / seconds:10.0f} cells/s {1e3 * seconds:8.3f} ms a cell")
    total = read + prepare + compute
    print(f"waiting for crops {read / total:.1%}, for augmentation {prepare / total:.1%}")


def _median(call: Callable[[], object], device: str = "cpu") -> float:
    times = []
    for _ in range(_BATCHES):
        started = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    typer.run(main)
