"""Fitting a network: MONAI's engine, a moving average of the weights, and checkpoints.

At the end of epochs the whole state is written down, so that a training that is killed goes on
from there and ends with the same weights.
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

from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.stacks.writing import whole_file
from cellcam_training.fitting.augmentation import augmented
from cellcam_training.fitting.data_loader import Cells, batch_loader
from cellcam_training.fitting.distributed_training import is_first, process_count
from cellcam_training.fitting.epoch_validation import KeptWeights
from cellcam_training.fitting.recipe import Recipe, schedule_of

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

Figures = dict[str, float]
CHECKPOINT = "checkpoint.pt"

# The average of the weights remembers this part of the training, and no more steps than that.
_AVERAGED_PART, _AVERAGED_STEPS = 0.05, 100


def fit(
    model: CellModel,
    recipe: Recipe,
    cells: Cells,
    folder: Path,
    progress: Progress | None = None,
) -> list[Figures]:
    """Train ``model`` in place; it ends with the last weights, or with patience the best.

    Parameters
    ----------
    folder : where the checkpoint is kept, and found if an earlier run was killed
    progress : called with (epochs done, epochs at most, how it goes)

    Returns
    -------
    one row for each epoch: epoch, learning_rate, training_loss, seconds, validation_loss,
    balanced_accuracy
    """
    # Dropout draws from torch's own generator, which belongs to the caller.
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        training = _Training(model, recipe, cells)
        training.resume(folder / CHECKPOINT)
        if is_first():
            training.on_epoch(lambda _: training.save(folder / CHECKPOINT))
            training.on_epoch(
                lambda _: write_history(folder / "metrics.csv", training.kept.history)
            )
            if recipe.tensorboard:
                training.on_epoch(_to_tensorboard(recipe.tensorboard, training.kept))
        if progress:
            training.on_epoch(lambda _: progress(*training.told()))
        training.run()
        model.network.load_state_dict(training.kept.weights)
        model.network.eval()
        return training.kept.history


def write_history(path: Path, history: list[Figures]) -> None:
    """Write the figures of all epochs as CSV."""
    import pandas as pd

    with whole_file(path) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)


class _Training:
    """Everything that changes while a network is fitted."""

    def __init__(self, model: CellModel, recipe: Recipe, cells: Cells) -> None:
        from ignite.engine import Events
        from ignite.handlers import EMAHandler

        # The engine logs every epoch; people see the progress bar instead.
        logging.getLogger("ignite").setLevel(logging.WARNING)
        self.network = model.network.to(memory_format=torch.channels_last)  # see below
        self.random = torch.Generator().manual_seed(recipe.seed)
        schedule = schedule_of(recipe, int((~cells.validation).sum()))
        loader = batch_loader(cells, schedule.batch_size, self.random)
        self.epochs = schedule.epochs
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        n_steps = self.epochs * len(loader)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, n_steps + 1, pct_start=0.15
        )
        remembered = min(_AVERAGED_STEPS, max(2, _AVERAGED_PART * n_steps))
        self.average = EMAHandler(self.network, 1 / remembered, handle_buffers="update")
        averaged = CellModel(model.spec, self.average.ema_model, model.device)
        self.kept = KeptWeights(averaged, cells, schedule.patience)
        self.losses: list[float] = []
        self.started = time.monotonic()
        self.engine = self._engine(model, recipe, schedule.label_smoothing, loader)
        self.average.attach(self.engine, event=Events.ITERATION_COMPLETED)
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        self.on_epoch(self._after_epoch)

    def _engine(
        self, model: CellModel, recipe: Recipe, smoothing: float, loader: Any
    ) -> SupervisedTrainer:
        from monai.engines import SupervisedTrainer

        def prepare(
            batch: tuple[Any, Tensor], device: torch.device, non_blocking: bool, **_: Any
        ) -> tuple[Tensor, Tensor]:
            crops = augmented(model.normalised(batch[0]), recipe.augmentation, self.random)
            return _channels_innermost(crops), batch[1].to(device, non_blocking=non_blocking)

        return SupervisedTrainer(
            device=model.device,
            max_epochs=self.epochs,
            train_data_loader=loader,
            network=_in_all_processes(self.network),
            optimizer=self.optimiser,
            loss_function=nn.CrossEntropyLoss(label_smoothing=smoothing),
            prepare_batch=prepare,
            amp=model.device.type == "cuda",
        )

    def on_epoch(self, handler: Callable[[SupervisedTrainer], object]) -> None:
        from ignite.engine import Events

        self.engine.add_event_handler(Events.EPOCH_COMPLETED, handler)

    def _after_step(self, engine: SupervisedTrainer) -> None:
        self.schedule.step()
        self.losses.append(float(engine.state.output[0]["loss"]))

    def _after_epoch(self, engine: SupervisedTrainer) -> None:
        self.kept.judge(
            {
                "epoch": engine.state.epoch,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "training_loss": float(np.mean(self.losses)),
                "seconds": round(time.monotonic() - self.started, 1),
            }
        )
        self.losses = []
        if self.kept.enough:
            engine.terminate()

    def told(self) -> tuple[int, int, str]:
        """Epochs done, epochs at most, and the figures of the last one."""
        row = self.kept.history[-1]
        note = f"loss {row['training_loss']:.3f}"
        if "balanced_accuracy" in row:
            note += f", on validation cells balanced accuracy {row['balanced_accuracy']:.3f}"
        return self.engine.state.epoch, self.epochs, note

    @property
    def done(self) -> bool:
        """Whether all epochs were run, or no further one is worth it."""
        return self.kept.enough or self.engine.state.epoch >= self.epochs

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
        self.started = time.monotonic() - self.kept.history[-1]["seconds"]

    def _parts(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "network": self.network,
            "average": self.average.ema_model,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "scaler": self.engine.scaler or _Nothing(),
            "kept": self.kept,
            "random": _RandomState(self.random),
        }

    def run(self) -> None:
        if not self.done:
            self.engine.run()


class _RandomState:
    """Where all random numbers of a training come from."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Tensor]:
        return {"own": self.generator.get_state(), "torch": torch.get_rng_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["own"].cpu())
        torch.set_rng_state(state["torch"].cpu())


class _Nothing:
    """Stands for a part that this training does without."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def _in_all_processes(network: nn.Module) -> nn.Module:
    """The network, its gradients averaged over the processes that train together."""
    import ignite.distributed as idist

    return idist.auto_model(network) if process_count() > 1 else network


def _channels_innermost(batch: Tensor) -> Tensor:
    """2-D images laid out so that a training takes half the time on a CPU."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _to_tensorboard(folder: Path, kept: KeptWeights) -> Callable[[SupervisedTrainer], object]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder)

    def write(_: SupervisedTrainer) -> None:
        row = kept.history[-1]
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()

    return write
