"""A linear probe: the last layer of a network, fitted on features that are computed once.

A discriminant of few relevant features needs fewer cells than logistic regression
(docs/decisions/0029).
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
from cellcam_training.fitting.calibration import fitted_temperature, softmax
from cellcam_training.fitting.data_loader import TrainingData
from cellcam_training.fitting.epoch_validation import EpochMetrics, EpochValidation

Features = NDArray[np.float32]

# Of the relevance of features, tried; and the parts of the cells by which one is chosen.
_POWERS, _FOLDS = (0, 1, 2, 3), 5


@dataclass(frozen=True)
class Probe:
    """Weights (n_classes, F) and biases (n_classes,) of a linear layer."""

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]

    def scores(self, features: Features) -> NDArray[np.float64]:
        """Class scores (N, n_classes) of features (N, F)."""
        return features @ self.weights.T + self.biases


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
    """Linear discriminant of features (N, F), with the classes equally frequent.

    Features are weighed by r^p, where r is the share of a feature's variance that lies between the
    classes, so that the many that say nothing do not drown the few that do; p, one of 0 to 3, is
    chosen by cross-validation. Classes without a cell get a score that never wins.
    """
    power = _best_power(features, truth)
    return _discriminant(features, truth, power, n_classes)


def _best_power(features: Features, truth: NDArray[np.int64]) -> int:
    """The power that gives cells that are left out the lowest cross-entropy, over classes."""
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(truth)
    n_folds = min(_FOLDS, int(counts[counts > 0].min()))
    if n_folds < 2:
        return _POWERS[-1]
    losses = np.zeros(len(_POWERS))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    for known, left_out in folds.split(features, truth):
        weights = 1 / counts[truth[left_out]]
        for i, power in enumerate(_POWERS):
            scores = _discriminant(features[known], truth[known], power, len(counts)).scores(
                features[left_out]
            )
            # The scale of the scores is calibrated later: it must not decide.
            temperature = fitted_temperature(scores, truth[left_out])
            likely = softmax(scores, temperature)[np.arange(len(left_out)), truth[left_out]]
            losses[i] -= weights @ np.log(np.maximum(likely, 1e-9))
    return _POWERS[int(losses.argmin())]


def _discriminant(
    features: Features, truth: NDArray[np.int64], power: int, n_classes: int
) -> Probe:
    """Fisher's discriminant of features that are weighed by their relevance.

    The covariance within classes is shrunk by the rule of Ledoit and Wolf ("Honey, I shrunk the
    sample covariance matrix", 2004).
    """
    from sklearn.covariance import ledoit_wolf

    known, number = np.unique(truth, return_inverse=True)
    middle, width = features.mean(0, np.float64), features.std(0, np.float64)
    varies = width > 1e-6 * width.max()
    scaled = ((features - middle) / np.where(varies, width, 1))[:, varies]
    means = np.stack([scaled[number == k].mean(0) for k in range(len(known))])
    weights = _relevance(scaled, means[number], len(known)) ** power
    scaled, means = scaled * weights, means * weights
    within = ledoit_wolf(scaled - means[number], assume_centered=True)[0]
    within += 1e-9 * np.trace(within) / len(within) * np.eye(len(within))
    directions = np.linalg.solve(within, means.T).T
    probe = Probe(np.zeros((n_classes, features.shape[1])), np.full(n_classes, -1e3))
    probe.weights[np.ix_(known, varies)] = directions * weights / width[varies]
    probe.biases[known] = -(directions * means).sum(1) / 2 - probe.weights[known] @ middle
    return probe


def _relevance(
    scaled: NDArray[np.float64], means: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Share of the variance of each feature that lies between the classes, less that of chance.

    Parameters
    ----------
    scaled : (N, F) of variance 1
    means : (N, F) of the class of each cell
    """
    by_chance = (n_classes - 1) / (len(scaled) - 1)
    share = (np.square(means).mean(0) - by_chance) / (1 - by_chance)
    # None is left out for good: where no feature says anything, all count alike.
    return np.clip(share, 1e-3, 1)


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
    scores = torch.from_numpy(probe.scores(features[rows]))
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
