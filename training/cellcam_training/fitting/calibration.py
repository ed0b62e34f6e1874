"""Probabilities that mean what they say, and when to say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]

_TEMPERATURES = (0.05, 20.0)


def softmax(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (N, n_classes) of logits (N, n_classes) over a temperature."""
    from scipy import special

    return np.asarray(special.softmax(np.asarray(logits, np.float64) / temperature, axis=1))


def fitted_temperature(logits: Logits, truth: Indices) -> float:
    """Temperature with the lowest cross-entropy on these cells.

    One number for all classes: calls and their order stay as they are (Guo et al., "On
    calibration of modern neural networks", ICML 2017).
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def cross_entropy(log_temperature: float) -> float:
        likelihood = softmax(logits, float(np.exp(log_temperature)))[rows, truth]
        return float(-np.log(np.maximum(likelihood, 1e-300)).mean())

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def cross_fitted(logits: Logits, truth: Indices, groups: NDArray[Any]) -> NDArray[np.float64]:
    """Calibrated probabilities, each cell's with a temperature fitted without its group.

    What is measured on these is what new cells will see; measured on the cells of the fit it
    would be flattered.

    Parameters
    ----------
    logits : (N, n_classes)
    truth : (N,) class indices
    groups : (N,) plate, movie or patient; one of its own for each cell where there are none
    """
    number = np.unique(groups, return_inverse=True)[1]
    half = np.random.default_rng(0).permutation(int(number.max()) + 1)[number] % 2 == 0
    if half.all() or not half.any():
        half = np.arange(len(truth)) % 2 == 0
    probabilities = np.empty(logits.shape)
    for part in (half, ~half):
        temperature = fitted_temperature(logits[~part], truth[~part])
        probabilities[part] = softmax(logits[part], temperature)
    return probabilities


def uncertainty_threshold(
    probabilities: NDArray[np.floating[Any]], truth: Indices, risk: float
) -> float:
    """Lowest probability from which on at most ``risk`` of the calls are wrong.

    Calls below it are uncertain. 1 where no threshold keeps the risk.
    """
    stated = probabilities.max(1)
    order = np.argsort(-stated, kind="stable")
    wrong = np.cumsum((probabilities.argmax(1) != truth)[order])
    kept = np.flatnonzero(wrong <= risk * np.arange(1, len(truth) + 1))
    return float(stated[order[kept[-1]]]) if len(kept) else 1.0
