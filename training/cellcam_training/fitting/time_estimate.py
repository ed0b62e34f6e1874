"""How long a training will take, from a few steps of it."""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import torch
from torch import nn

from cellcam.models.model import CellModel
from cellcam_training.fitting.augmentation import augmented
from cellcam_training.fitting.course import Course
from cellcam_training.fitting.data_loader import TrainingData, data_loader
from cellcam_training.fitting.distributed_training import process_device
from cellcam_training.fitting.initial_model import initial_model
from cellcam_training.fitting.memory_layout import channels_last_network
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSet

# The first steps are slower; as many are left out as are measured at least.
_FIRST, _MOST_STEPS, _ENOUGH_S = 2, 12, 3.0
_JUDGED_AT_ONCE = 256


def estimated_seconds(
    table: CellTable, crops: CropSet, course: Course, device: str, folds: int | None = None
) -> float:
    """Estimate the time of a training, with its cross-validation, by timing some of its steps.

    What follows the epochs is not counted.

    Nothing that the training depends on is changed.
    """
    judge_of = course.judge_of
    data = TrainingData(crops.pixels, table.truth(), judge_of == 0)
    with torch.random.fork_rng():
        torch.manual_seed(course.recipe.seed)
        model = initial_model(
            table.classes, course.recipe, crops, judge_of != 0, process_device(device)
        )
        judging = _seconds_of_judging(model, data)
        if course.recipe.frozen:  # features once, and each judge of its cells
            return 2 * len(judge_of) * judging * (folds or 1)
        step = _seconds_of_step(model, data, course)
    total = 0.0
    for k in range(course.n_judges):
        n_judged = int((judge_of == k).sum())
        total += _n_steps(table, judge_of != k, course) * step + n_judged * judging
    if course.again:
        total += _n_steps(table, np.ones(len(judge_of), bool), course) * step
    total *= course.recipe.epochs or 1
    return total * (1 + folds * (1 - 1 / folds)) if folds else total


def _n_steps(table: CellTable, trained: np.ndarray, course: Course) -> int:
    """Steps of an epoch."""
    data = TrainingData(np.empty((len(trained), 0)), table.truth(), ~trained)
    return len(data_loader(data, course.recipe.batch_size or 1, torch.Generator()))


def _seconds_of_step(model: CellModel, data: TrainingData, course: Course) -> float:
    recipe, random = course.recipe, torch.Generator().manual_seed(course.recipe.seed)
    network = channels_last_network(model.network).train()
    optimiser = torch.optim.AdamW(network.parameters())
    times: list[float] = []
    batches = data_loader(data, recipe.batch_size or 1, random)
    for crops, truth in islice(batches, _MOST_STEPS):
        started = time.perf_counter()
        batch = augmented(model.normalised(crops), recipe.augmentation, random)
        loss = nn.functional.cross_entropy(network(batch), truth.to(model.device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        float(loss.detach())  # waits for the device
        times.append(time.perf_counter() - started)
        if sum(times) > _ENOUGH_S and len(times) > _FIRST:
            break
    return float(np.median(times[min(_FIRST, len(times) - 1) :]))


def _seconds_of_judging(model: CellModel, data: TrainingData) -> float:
    """Time to judge a cell."""
    rows = np.flatnonzero(data.validation)[:_JUDGED_AT_ONCE]
    model.network.eval()
    started = time.perf_counter()
    model.logits(data.pixels[rows])
    return (time.perf_counter() - started) / max(1, len(rows))


def in_words(seconds: float) -> str:
    """A time such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
