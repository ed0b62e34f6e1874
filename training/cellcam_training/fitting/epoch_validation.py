"""Validation after each epoch: metrics, the weights to keep, and early stopping."""

from __future__ import annotations

import copy
import math
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from cellcam.evaluate.classification import classification_metrics
from cellcam.models.model import CellModel
from cellcam_training.fitting.calibration import fitted_temperature
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.distributed_training import from_first_process

EpochMetrics = dict[str, float]


class ValidationState(TypedDict):
    """Part of a checkpoint: the weights kept so far, and the metrics of all epochs."""

    weights: dict[str, Tensor]
    history: list[EpochMetrics]


class EpochValidation:
    """Validate the averaged weights, and keep the last; with ``patience``, the best.

    The last weights classify better, and their metrics are not selected by chance
    (docs/decisions/0009-training.md).

    Parameters
    ----------
    model : with the averaged network
    data : its validation cells are used
    patience : number of epochs without improvement before the training stops; None: no early
        stopping

    Attributes
    ----------
    history : metrics of each epoch
    weights : state dict to keep
    """

    def __init__(self, model: CellModel, data: TrainingData, patience: int | None) -> None:
        self.model, self.patience = model, patience
        self.pixels = data.pixels[data.validation]
        self.truth = data.truth[data.validation]
        self.loss = nn.CrossEntropyLoss(data.class_weights())
        self.history: list[EpochMetrics] = []
        self.weights: dict[str, Tensor] = {}

    @property
    def stops_early(self) -> bool:
        """Whether the validation loss has not fallen for ``patience`` epochs."""
        losses = [row["validation_loss"] for row in self.history if "validation_loss" in row]
        if self.patience is None or not losses:
            return False
        return len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def validate(self, epoch: EpochMetrics) -> None:
        """Validate the current weights, and add a row to the history.

        Parameters
        ----------
        epoch : metrics of the training in this epoch, which the row starts with
        """
        self.model.network.eval()
        if not len(self.truth):
            self.weights = copy.deepcopy(self.model.network.state_dict())
            self.history.append(epoch)
            return
        logits = self.model.logits(self.pixels)
        # The temperature is fitted in every epoch: final probabilities are calibrated anyway, and
        # over-confidence, which rises before accuracy falls, must not stop the training.
        calibrated = logits / fitted_temperature(logits.numpy(), self.truth)
        loss = from_first_process(float(self.loss(calibrated, torch.from_numpy(self.truth))))
        best = min((row["validation_loss"] for row in self.history), default=math.inf)
        if self.patience is None or loss < best:
            self.weights = copy.deepcopy(self.model.network.state_dict())
        metrics = classification_metrics(
            self.truth, logits.softmax(1).numpy(), self.model.spec.classes
        )
        validated = {"validation_loss": loss, "balanced_accuracy": metrics["balanced_accuracy"]}
        self.history.append({**epoch, **validated})

    def state_dict(self) -> ValidationState:
        """State for a checkpoint."""
        return {"weights": self.weights, "history": self.history}

    def load_state_dict(self, state: ValidationState) -> None:
        """Restore the state of a checkpoint."""
        self.weights, self.history = state["weights"], state["history"]
