"""A linear probe: the last layer of a network, fitted on features that are computed once.

Fisher's discriminant with a shrunken covariance needs fewer cells than logistic regression
(docs/decisions/0027).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellcam.errors import UsageError
from cellcam.models.model import CellModel
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.epoch_validation import EpochMetrics, EpochValidation

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """Weights (n_classes, F) and biases (n_classes,) of a linear layer."""

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]


def features_of(model: CellModel, pixels: NDArray[np.generic]) -> Features:
    """What the last layer of a model sees of crops (N, C, *crop_size): (N, F).

    Raises
    ------
    UsageError
        If the last layer of the network is not a linear one.
    """
    model.logits(pixels[:1])  # the first call runs a trial
    seen: list[Tensor] = []
    layer = last_linear(model)
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].cpu()))
    try:
        model.logits(pixels)
    finally:
        handle.remove()
    return torch.cat(seen).float().numpy()


def fitted_probe(features: Features, truth: NDArray[np.int64], n_classes: int) -> Probe:
    """Linear discriminant of features (N, F) with the classes equally frequent.

    The covariance within classes is shrunk by the rule of Ledoit and Wolf ("Honey, I shrunk the
    sample covariance matrix", 2004). Classes without a cell get a score that never wins.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    known = np.unique(truth)
    middle, width = features.mean(0, np.float64), features.std(0, np.float64)
    varies = width > 1e-6 * width.max()
    found = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(len(known), 1 / len(known))
    ).fit(((features - middle) / np.where(varies, width, 1))[:, varies], truth)
    weights, biases = found.coef_, found.intercept_
    if len(known) == 2:  # one score z: the second class has z / 2, the first its negative
        weights, biases = (np.concatenate([-a, a]) / 2 for a in (weights, biases))
    probe = Probe(np.zeros((n_classes, features.shape[1])), np.full(n_classes, -100.0))
    probe.weights[np.ix_(known, varies)] = weights / width[varies]
    probe.biases[known] = biases - probe.weights[known] @ middle
    return probe


def fit_probe(model: CellModel, data: TrainingData, features: Features) -> list[EpochMetrics]:
    """Fit the last layer of ``model`` in place; returns its metrics as those of a single epoch.

    Parameters
    ----------
    features : (N, F) of all crops of ``data``, see `features_of`
    """
    started = time.monotonic()
    rows = ~data.validation
    probe = fitted_probe(features[rows], data.truth[rows], len(model.spec.classes))
    layer = last_linear(model)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(probe.weights))
        layer.bias.copy_(torch.from_numpy(probe.biases))
    scores = torch.from_numpy(features[rows] @ probe.weights.T + probe.biases)
    loss = nn.functional.cross_entropy(scores, torch.from_numpy(data.truth[rows]))
    validation = EpochValidation(model, data, None)
    validation.validate(
        {
            "epoch": 1,
            "training_loss": float(loss),
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    return validation.history


def last_linear(model: CellModel) -> nn.Linear:
    """The last layer of the network, which must have a row for each class."""
    linear = [module for module in model.network.modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].out_features != len(model.spec.classes) or linear[-1].bias is None:
        raise UsageError(
            f"frozen: {model.spec.network} does not end in a linear layer with a row for each "
            "class. Use another backbone."
        )
    return linear[-1]
