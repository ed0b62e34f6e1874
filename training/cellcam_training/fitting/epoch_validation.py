"""The averaged weights that a training ends with, and the figures of all its epochs."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellcam.evaluate.classification import classification_metrics
from cellcam.models.model import CellModel
from cellcam_training.fitting.calibration import fitted_temperature
from cellcam_training.fitting.data_loader import Cells
from cellcam_training.fitting.distributed_training import agreed


class KeptWeights:
    """Judges weights on the validation cells, and keeps the last ones; with patience, the best.

    The last are the better ones, and the more honestly judged (docs/decisions/0010-training.md).

    Parameters
    ----------
    model : the averaged network that is judged
    cells : those for validation are used
    patience : epochs without improvement that are borne; None runs them all

    Attributes
    ----------
    history : one row of figures for each epoch
    """

    def __init__(self, model: CellModel, cells: Cells, patience: int | None) -> None:
        self.model, self.patience = model, patience
        self.pixels = cells.pixels[cells.validation]
        self.truth = cells.truth[cells.validation]
        self.loss = nn.CrossEntropyLoss(cells.class_weights())
        self.history: list[dict[str, float]] = []
        self.weights: dict[str, Tensor] = {}

    @property
    def enough(self) -> bool:
        """Whether the loss has not fallen for too long."""
        losses = [row["validation_loss"] for row in self.history if "validation_loss" in row]
        if self.patience is None or not losses:
            return False
        return len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def judge(self, figures: dict[str, float]) -> None:
        """Judge the weights as they are now, and add a row to the history.

        Parameters
        ----------
        figures : of the epoch, for the history
        """
        self.model.network.eval()
        if not len(self.truth):
            self.weights = copy.deepcopy(self.model.network.state_dict())
            self.history.append(figures)
            return
        logits = self.model.logits(self.pixels)
        # At its own temperature: how sure a network is gets calibrated later, and would
        # otherwise decide when to stop before how right it is.
        calibrated = logits / fitted_temperature(logits.numpy(), self.truth)
        loss = agreed(float(self.loss(calibrated, torch.from_numpy(self.truth))))
        best = min((row["validation_loss"] for row in self.history), default=math.inf)
        if self.patience is None or loss < best:
            self.weights = copy.deepcopy(self.model.network.state_dict())
        metrics = classification_metrics(
            self.truth, logits.softmax(1).numpy(), self.model.spec.classes
        )
        judged = {"validation_loss": loss, "balanced_accuracy": metrics["balanced_accuracy"]}
        self.history.append({**figures, **judged})

    def state_dict(self) -> dict[str, Any]:
        """Everything that judging depends on, for a checkpoint."""
        return {"weights": self.weights, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.weights, self.history = state["weights"], state["history"]
