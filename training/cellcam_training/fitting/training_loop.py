"""The training loop: MONAI's engine, averaged weights, validation and checkpoints.

The whole state is stored after each epoch, so that an interrupted training continues from there
and ends with the same weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.augmentation import augmented
from cellcam_training.fitting.checkpoint import (
    CHECKPOINT,
    NoState,
    RandomState,
    Stateful,
    load_checkpoint,
    save_checkpoint,
)
from cellcam_training.fitting.data_loader import Batch, TrainingData, data_loader
from cellcam_training.fitting.distributed_training import is_first_process, process_count
from cellcam_training.fitting.epoch_validation import EpochMetrics, EpochValidation
from cellcam_training.fitting.memory_layout import channels_last_batch, channels_last_network
from cellcam_training.fitting.recipe import Recipe, schedule_of

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

# Time constant of the moving average of the weights: 5 % of all steps, at most 100 steps.
_AVERAGED_SHARE, _AVERAGED_STEPS = 0.05, 100
# Part of the learning rate for a network that goes on from a trained one, so that it does not
# forget (docs/decisions/0009).
_GOING_ON = 0.1


def fit(
    model: CellModel,
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    progress: Progress | None = None,
) -> list[EpochMetrics]:
    """Train ``model`` in place; it gets the last averaged weights, or with patience the best.

    Parameters
    ----------
    folder : for the checkpoint; a checkpoint that is there is resumed
    progress : called with (epochs done, epochs at most, metrics)

    Returns
    -------
    one row for each epoch: epoch, learning_rate, training_loss, seconds, validation_loss,
    balanced_accuracy
    """
    # Dropout draws from the default generator of its device, whose state is restored afterwards.
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        training = _Training(model, recipe, data)
        validation = training.validation
        training.resume(folder / CHECKPOINT)
        if is_first_process():
            training.on_epoch(lambda _: training.save(folder / CHECKPOINT))
            training.on_epoch(lambda _: write_history(folder / "metrics.csv", validation.history))
            if recipe.tensorboard:
                training.on_epoch(_to_tensorboard(recipe.tensorboard, validation))
        if progress:
            training.on_epoch(lambda _: progress(*training.progress()))
        training.run()
        model.network.load_state_dict(validation.weights)
        model.network.eval()
        return validation.history


def write_history(path: Path, history: list[EpochMetrics]) -> None:
    """Write the metrics of all epochs as CSV."""
    import pandas as pd

    with whole_file(path) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)


class _Training:
    """All objects with a state that a training changes."""

    def __init__(self, model: CellModel, recipe: Recipe, data: TrainingData) -> None:
        from ignite.engine import Events
        from ignite.handlers import EMAHandler

        # The engine logs every epoch, which the progress bar shows, and errors that it raises, too.
        logging.getLogger("ignite").setLevel(logging.CRITICAL)
        self.device = model.device
        self.network = channels_last_network(model.network)
        self.random = torch.Generator().manual_seed(recipe.seed)
        schedule = schedule_of(recipe, int((~data.validation).sum()))
        loader = data_loader(data, schedule.batch_size, self.random)
        self.epochs = schedule.epochs
        rate = recipe.learning_rate * (_GOING_ON if recipe.start_from else 1)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), rate, weight_decay=recipe.weight_decay
        )
        n_steps = self.epochs * len(loader)
        self.learning_rate = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, rate, n_steps + 1, pct_start=0.15
        )
        averaged_steps = min(_AVERAGED_STEPS, max(2, _AVERAGED_SHARE * n_steps))
        self.average = EMAHandler(self.network, 1 / averaged_steps, handle_buffers="update")
        averaged = CellModel(model.spec, self.average.ema_model, model.device)
        self.validation = EpochValidation(averaged, data, schedule.patience)
        self.losses: list[float] = []
        self.started = time.monotonic()
        self.engine = self._engine(model, recipe, schedule.label_smoothing, loader)
        self.average.attach(self.engine, event=Events.ITERATION_COMPLETED)
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        self.on_epoch(self._after_epoch)

    def _engine(
        self, model: CellModel, recipe: Recipe, smoothing: float, loader: DataLoader[Batch]
    ) -> SupervisedTrainer:
        from monai.engines import SupervisedTrainer

        def prepare(
            batch: Batch, device: torch.device, non_blocking: bool, **_: Any
        ) -> tuple[Tensor, Tensor]:
            crops = augmented(model.normalised(batch[0]), recipe.augmentation, self.random)
            return channels_last_batch(crops), batch[1].to(device, non_blocking=non_blocking)

        return SupervisedTrainer(
            device=model.device,
            max_epochs=self.epochs,
            train_data_loader=loader,
            network=_distributed(self.network),
            optimizer=self.optimiser,
            loss_function=nn.CrossEntropyLoss(label_smoothing=smoothing),
            prepare_batch=prepare,
            amp=model.device.type == "cuda",
        )

    def on_epoch(self, handler: Callable[[SupervisedTrainer], object]) -> None:
        """Call ``handler`` after each epoch, after the handlers added before it."""
        from ignite.engine import Events

        self.engine.add_event_handler(Events.EPOCH_COMPLETED, handler)

    def _after_step(self, engine: SupervisedTrainer) -> None:
        self.learning_rate.step()
        self.losses.append(float(engine.state.output[0]["loss"]))

    def _after_epoch(self, engine: SupervisedTrainer) -> None:
        self.validation.validate(
            {
                "epoch": engine.state.epoch,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "training_loss": float(np.mean(self.losses)),
                "seconds": round(time.monotonic() - self.started, 1),
            }
        )
        self.losses = []
        if self.validation.stops_early:
            engine.terminate()

    def progress(self) -> tuple[int, int, str]:
        """Epochs done, epochs at most, and the metrics of the last epoch."""
        row = self.validation.history[-1]
        note = f"loss {row['training_loss']:.3f}"
        if "balanced_accuracy" in row:
            note += f", on validation cells balanced accuracy {row['balanced_accuracy']:.3f}"
        return self.engine.state.epoch, self.epochs, note

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, self._parts())

    def resume(self, path: Path) -> None:
        """Restore a checkpoint, if there is one."""
        if path.is_file():
            load_checkpoint(path, self._parts())
            self.started = time.monotonic() - self.validation.history[-1]["seconds"]

    def _parts(self) -> dict[str, Stateful]:
        """Everything that the rest of the training depends on, by its name in the checkpoint."""
        return {
            "engine": self.engine,
            "network": self.network,
            "average": self.average.ema_model,
            "optimiser": self.optimiser,
            "schedule": self.learning_rate,
            "scaler": self.engine.scaler or NoState(),
            "kept": self.validation,
            "random": RandomState(self.random, self.device),
        }

    def run(self) -> None:
        """Run the remaining epochs, unless a resumed training was complete."""
        if not (self.validation.stops_early or self.engine.state.epoch >= self.epochs):
            self.engine.run()


def _distributed(network: nn.Module) -> nn.Module:
    """The network; in a distributed training its gradients are averaged over the processes."""
    import ignite.distributed as idist

    return idist.auto_model(network) if process_count() > 1 else network


def _to_tensorboard(
    folder: Path, validation: EpochValidation
) -> Callable[[SupervisedTrainer], object]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder)

    def write(_: SupervisedTrainer) -> None:
        row = validation.history[-1]
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()

    return write
