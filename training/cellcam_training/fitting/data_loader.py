"""Batches of raw crops, in an order that a resumed training repeats."""

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


@dataclass(frozen=True)
class Cells:
    """Crops and classes of training and validation cells.

    Attributes
    ----------
    pixels : (N, C, *crop_size) raw counts
    truth : (N,) class indices
    validation : (N,) which are kept for validation
    """

    pixels: NDArray[Any]
    truth: NDArray[np.int64]
    validation: NDArray[np.bool_]

    def class_weights(self) -> Tensor:
        """Weights that let every class count the same, however many cells it has."""
        counts = np.maximum(1, np.bincount(self.truth))
        return torch.from_numpy(len(self.truth) / (len(counts) * counts)).float()


def batch_loader(cells: Cells, batch_size: int, random: torch.Generator) -> DataLoader[Any]:
    """Loader of (raw crops, class indices) of the training cells.

    Where several processes train together, each gets its part of every batch.
    """
    crops = _Crops(cells)
    batches = _Batches(cells.truth[crops.rows], batch_size, random)
    # The loader draws a number for workers, which are not used, when a resumed training does
    # not: it gets a generator of its own.
    own = torch.Generator()
    return DataLoader(
        crops, batch_size=None, sampler=batches, generator=own, collate_fn=_as_they_are
    )


def _as_they_are(batch: Any) -> Any:
    return batch  # crops stay integers until they are on the device


class _Crops(Dataset[tuple[NDArray[Any], Tensor]]):
    """Raw crops and classes of training cells, a batch at a time."""

    def __init__(self, cells: Cells) -> None:
        self.rows = np.flatnonzero(~cells.validation)
        self.pixels, self.truth = cells.pixels, torch.from_numpy(cells.truth)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: list[int]) -> tuple[NDArray[Any], Tensor]:
        rows = self.rows[batch]
        return self.pixels[rows], self.truth[rows]


class _Batches(Sampler[list[int]]):
    """Numbers of the cells of each batch, in a new order every time.

    Every class comes equally often: cells of a rare one are repeated, and of a frequent one
    different cells come in every epoch. Weights in the loss instead make single rare cells
    push hard (docs/decisions/0010-training.md). torch's own samplers draw once more at the end of
    an epoch, which a training that is resumed there does not: the orders would part.

    Parameters
    ----------
    truth : (N,) class indices
    """

    def __init__(self, truth: NDArray[np.int64], batch_size: int, random: torch.Generator) -> None:
        self.classes = [torch.from_numpy(np.flatnonzero(truth == k)) for k in np.unique(truth)]
        self.share = math.ceil(len(truth) / len(self.classes))
        self.batch_size, self.random = batch_size, random
        self.processes, self.own = process_count(), process_number()

    def __len__(self) -> int:
        return math.ceil(self.share * len(self.classes) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        drawn = torch.cat([self._drawn(cells) for cells in self.classes])
        order = drawn[torch.randperm(len(drawn), generator=self.random)]
        # Parts of one size: what is drawn for them keeps the processes' generators alike.
        own = order[: len(order) // self.processes * self.processes][self.own :: self.processes]
        # Batches of about one size: a last one of two cells takes a step as long as any other, in
        # a direction that is mostly chance, and cost 4 % of the accuracy.
        for batch in own.tensor_split(len(self)):
            yield batch.tolist()

    def _drawn(self, cells: Tensor) -> Tensor:
        """The share of one class: each of its cells as often as the others, but for one."""
        rounds = math.ceil(self.share / len(cells))
        orders = torch.rand((rounds, len(cells)), generator=self.random).argsort(1)
        return cells[orders.flatten()[: self.share]]
