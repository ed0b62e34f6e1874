"""Calibration of probabilities by temperature scaling, and the threshold of uncertain calls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.floating]
Indices = NDArray[np.integer]

_TEMPERATURES = (0.05, 20.0)


def softmax(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (N, n_classes): softmax(logits / temperature)."""
    from scipy import special

    return np.asarray(special.softmax(np.asarray(logits, np.float64) / temperature, axis=1))


def fitted_temperature(logits: Logits, truth: Indices) -> float:
    """Temperature with the lowest cross-entropy on these cells.

    It is the same for all classes, so it changes no call (Guo et al., "On calibration of modern
    neural networks", ICML 2017).

    Parameters
    ----------
    logits : (N, n_classes)
    truth : (N,) class indices
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def cross_entropy(log_temperature: float) -> float:
        likelihood = softmax(logits, float(np.exp(log_temperature)))[rows, truth]
        return float(-np.log(np.maximum(likelihood, 1e-300)).mean())

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def cross_fitted(
    logits: Logits, truth: Indices, groups: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Calibrated probabilities; each cell's temperature was fitted without the cell's group.

    Metrics of these probabilities are those to expect on new cells; on the cells that fitted
    the temperature the calibration error would be too small.

    Parameters
    ----------
    logits : (N, n_classes)
    truth : (N,) class indices
    groups : (N,) number of the plate, movie or patient; all different if there are none
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
    probabilities: NDArray[np.floating], truth: Indices, risk: float
) -> float:
    """Lowest probability p such that at most ``risk`` of the calls with probability >= p are wrong.

    Calls below it are uncertain. 1 if no threshold keeps the risk.

    Parameters
    ----------
    probabilities : (N, n_classes)
    truth : (N,) class indices
    """
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((probabilities.argmax(1) != truth)[order])
    kept = np.flatnonzero(wrong <= risk * np.arange(1, len(truth) + 1))
    return float(confidence[order[kept[-1]]]) if len(kept) else 1.0
