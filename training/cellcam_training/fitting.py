"""Fitting a network: MONAI's engine, a moving average of the weights, and checkpoints.

After every epoch the whole state is written down, so that a training that is killed goes on
from there and ends with the same weights.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from cellcam.evaluate.classification import classification_metrics
from cellcam.models.model import CellModel
from cellcam.stacks.writing import whole_file
from cellcam_training.augmentation import augmented
from cellcam_training.recipe import Recipe

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

Progress = Callable[[int, int], None]
CHECKPOINT = "checkpoint.pt"

# The average of the weights remembers this part of the training, and no more steps than that.
_AVERAGED_PART, _AVERAGED_STEPS = 0.05, 100
# Crops that a training shows where the recipe does not say how many epochs, and their limits.
_CROPS_SEEN, _EPOCHS = 80_000, (15, 60)


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


def fit(
    model: CellModel,
    recipe: Recipe,
    cells: Cells,
    folder: Path,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place; it ends with the best weights.

    Parameters
    ----------
    folder : where the checkpoint is kept, and found if an earlier run was killed
    progress : called with (epochs done, epochs at most)

    Returns
    -------
    one row for each epoch: epoch, learning_rate, training_loss, validation_loss,
    balanced_accuracy, seconds
    """
    training = _Training(model, recipe, cells)
    training.resume(folder / CHECKPOINT)
    training.on_epoch(lambda _: training.save(folder / CHECKPOINT))
    training.on_epoch(lambda _: write_history(folder / "metrics.csv", training.best.history))
    if progress:
        training.on_epoch(lambda engine: progress(engine.state.epoch, training.epochs))
    training.run()
    training.best.restore()
    return training.best.history


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the figures of all epochs as CSV."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


class _Training:
    """Everything that changes while a network is fitted."""

    def __init__(self, model: CellModel, recipe: Recipe, cells: Cells) -> None:
        from ignite.engine import Events
        from ignite.handlers import EMAHandler
        from monai.engines import SupervisedTrainer

        # The engine logs every epoch; people see the progress bar instead.
        logging.getLogger("ignite").setLevel(logging.WARNING)
        self.random = torch.Generator().manual_seed(recipe.seed)
        loader = _loader(recipe, cells, self.random)
        self.epochs = recipe.epochs or _enough_epochs(int((~cells.validation).sum()))
        self.optimiser = torch.optim.AdamW(
            model.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, self.epochs * len(loader) + 1, pct_start=0.15
        )
        remembered = min(_AVERAGED_STEPS, max(2, _AVERAGED_PART * self.epochs * len(loader)))
        self.average = EMAHandler(model.network, 1 / remembered, handle_buffers="update")
        self.best = _Best(model, self.average.ema_model, cells, self.optimiser, recipe.patience)
        self.network = model.network
        self.engine: SupervisedTrainer = SupervisedTrainer(
            device=model.device,
            max_epochs=self.epochs,
            train_data_loader=loader,
            network=model.network,
            optimizer=self.optimiser,
            loss_function=nn.CrossEntropyLoss(cells.class_weights().to(model.device)),
            prepare_batch=lambda batch, device, non_blocking, **_: (
                augmented(model.normalised(batch[0]), recipe.augmentation, self.random),
                batch[1].to(device, non_blocking=non_blocking),
            ),
            amp=model.device.type == "cuda",
        )
        self.average.attach(self.engine, event=Events.ITERATION_COMPLETED)
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.schedule.step())
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, self.best.listen)
        self.on_epoch(self.best.look)

    def on_epoch(self, handler: Callable[[SupervisedTrainer], object]) -> None:
        from ignite.engine import Events

        self.engine.add_event_handler(Events.EPOCH_COMPLETED, handler)

    def save(self, path: Path) -> None:
        """Write down all that the rest of the training depends on."""
        with whole_file(path) as temporary:
            torch.save({name: part.state_dict() for name, part in self._parts().items()}, temporary)

    def resume(self, path: Path) -> None:
        """Take up what an earlier run wrote down, if it did."""
        if not path.is_file():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "network": self.network,
            "average": self.average.ema_model,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "best": self.best,
            "random": _RandomState(self.random),
        }

    def run(self) -> None:
        if not self.best.enough and self.engine.state.epoch < self.epochs:
            self.engine.run()


class _Best:
    """Remembers the averaged weights of the epoch with the lowest balanced validation loss."""

    def __init__(
        self,
        model: CellModel,
        average: nn.Module,
        cells: Cells,
        optimiser: torch.optim.Optimizer,
        patience: int,
    ) -> None:
        self.model = model
        self.average = CellModel(model.spec, average, model.device)
        self.optimiser, self.patience = optimiser, patience
        self.pixels = cells.pixels[cells.validation]
        self.truth = cells.truth[cells.validation]
        self.loss = nn.CrossEntropyLoss(cells.class_weights())
        self.losses: list[float] = []
        self.history: list[dict[str, float]] = []
        self.weights: dict[str, Tensor] = {}
        self.started = time.monotonic()

    @property
    def enough(self) -> bool:
        """Whether the loss has not fallen for too long."""
        losses = [row["validation_loss"] for row in self.history]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def listen(self, engine: SupervisedTrainer) -> None:
        """Note the loss of a step."""
        self.losses.append(float(engine.state.output[0]["loss"]))

    def look(self, engine: SupervisedTrainer) -> None:
        """Evaluate the averaged weights after an epoch."""
        self.average.network.eval()
        logits = self.average.logits(self.pixels)
        loss = float(self.loss(logits, torch.from_numpy(self.truth)))
        metrics = classification_metrics(
            self.truth, logits.softmax(1).numpy(), self.model.spec.classes
        )
        if loss < min((row["validation_loss"] for row in self.history), default=math.inf):
            self.weights = copy.deepcopy(self.average.network.state_dict())
        self.history.append(
            {
                "epoch": engine.state.epoch,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "training_loss": float(np.mean(self.losses)),
                "validation_loss": loss,
                "balanced_accuracy": metrics["balanced_accuracy"],
                "seconds": round(time.monotonic() - self.started, 1),
            }
        )
        self.losses = []
        if self.enough:
            engine.terminate()

    def restore(self) -> None:
        """Give the model the best weights."""
        self.model.network.load_state_dict(self.weights)
        self.model.network.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.history = state["weights"], state["history"]
        self.started = time.monotonic() - self.history[-1]["seconds"]


class _RandomState:
    """Where all random numbers of a training come from."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Tensor]:
        return {"own": self.generator.get_state(), "torch": torch.get_rng_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["own"].cpu())
        torch.set_rng_state(state["torch"].cpu())


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

    torch's own sampler draws once more at the end of an epoch, which a training that is
    resumed there does not: the orders would part.
    """

    def __init__(self, n: int, batch_size: int, random: torch.Generator) -> None:
        self.n, self.batch_size, self.random = n, batch_size, random

    def __len__(self) -> int:
        # A last batch of a single cell has no statistics for batch normalisation.
        alone = self.n % self.batch_size == 1 and self.n > 1
        return math.ceil(self.n / self.batch_size) - alone

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n, generator=self.random)
        for batch in order.split(self.batch_size)[: len(self)]:
            yield batch.tolist()


def _loader(recipe: Recipe, cells: Cells, random: torch.Generator) -> DataLoader[Any]:
    crops = _Crops(cells)
    batches = _Batches(len(crops), recipe.batch_size, random)
    # The loader draws a number for workers, which are not used, when a resumed training does
    # not: it gets a generator of its own.
    own = torch.Generator()
    return DataLoader(
        crops, batch_size=None, sampler=batches, generator=own, collate_fn=_as_they_are
    )


def _as_they_are(batch: Any) -> Any:
    return batch  # crops stay integers until they are on the device


def _enough_epochs(n_cells: int) -> int:
    """Few cells are seen more often, many less."""
    fewest, most = _EPOCHS
    return min(most, max(fewest, round(_CROPS_SEEN / n_cells)))
