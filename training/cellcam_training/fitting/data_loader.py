"""Class-balanced batches of raw crops, in an order that a resumed training repeats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cellcam_training.fitting.distributed_training import process_count, process_number
from cellcam_training.tables.image_crops import Pixels

Batch = tuple[Pixels, Tensor]  # raw crops (n, C, *crop_size) and class indices (n,)


@dataclass(frozen=True)
class TrainingData:
    """Crops and classes of training and validation cells.

    Attributes
    ----------
    pixels : (N, C, *crop_size) raw counts
    truth : (N,) class indices
    validation : (N,) bool, the cells for validation
    """

    pixels: Pixels
    truth: NDArray[np.int64]
    validation: NDArray[np.bool_]

    def class_weights(self) -> Tensor:
        """Loss weight of each class, inversely proportional to its number of cells."""
        counts = np.maximum(1, np.bincount(self.truth))
        return torch.from_numpy(len(self.truth) / (len(counts) * counts)).float()


def data_loader(data: TrainingData, batch_size: int, random: torch.Generator) -> DataLoader[Batch]:
    """Loader of (raw crops, class indices) of the training cells.

    In a distributed training each process gets its part of every batch.
    """
    crops = _TrainingCrops(data)
    sampler = _BalancedBatches(data.truth[crops.rows], batch_size, random)
    # A loader draws a seed for its workers, of which there are none here, whenever iteration
    # starts. Drawn from a separate generator, it does not change what a resumed training draws.
    return DataLoader(
        crops, batch_size=None, sampler=sampler, generator=torch.Generator(), collate_fn=_unchanged
    )


def _unchanged(batch: Any) -> Any:
    return batch  # crops stay integers until they are on the device


class _TrainingCrops(Dataset[Batch]):
    """Raw crops and classes of the training cells, indexed by batches of row numbers."""

    def __init__(self, data: TrainingData) -> None:
        self.rows = np.flatnonzero(~data.validation)
        self.pixels, self.truth = data.pixels, torch.from_numpy(data.truth)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: list[int]) -> Batch:
        rows = self.rows[batch]
        return self.pixels[rows], self.truth[rows]


class _BalancedBatches(Sampler[list[int]]):
    """Cell numbers of each batch of an epoch, in a new order every epoch.

    Every class is drawn equally often: cells of a rare class are repeated, and each epoch has
    different cells of a frequent class. Class weights in the loss would let single rare cells
    dominate a step instead (docs/decisions/0009-training.md). torch's samplers draw once more
    at the end of an epoch; a training resumed there does not, and would get another order.

    Parameters
    ----------
    truth : (N,) class indices
    """

    def __init__(self, truth: NDArray[np.int64], batch_size: int, random: torch.Generator) -> None:
        self.classes = [torch.from_numpy(np.flatnonzero(truth == k)) for k in np.unique(truth)]
        self.cells_per_class = math.ceil(len(truth) / len(self.classes))
        self.batch_size, self.random = batch_size, random
        self.n_processes, self.process = process_count(), process_number()

    def __len__(self) -> int:
        return math.ceil(self.cells_per_class * len(self.classes) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        drawn = torch.cat([self._drawn_from(cells) for cells in self.classes])
        order = drawn[torch.randperm(len(drawn), generator=self.random)]
        # All processes get equally many cells, so that augmentation draws equally many random
        # numbers in each and their generators stay in step.
        shared = len(order) // self.n_processes * self.n_processes
        cells = order[:shared][self.process :: self.n_processes]
        # Batches of nearly equal size: a last batch of two cells takes a step as long as the
        # others in a nearly random direction, which cost 4 % of the accuracy.
        for batch in cells.tensor_split(len(self)):
            yield batch.tolist()

    def _drawn_from(self, cells: Tensor) -> Tensor:
        """Draw ``cells_per_class`` cells of a class; their counts differ by at most 1."""
        rounds = math.ceil(self.cells_per_class / len(cells))
        orders = torch.rand((rounds, len(cells)), generator=self.random).argsort(1)
        return cells[orders.flatten()[: self.cells_per_class]]
