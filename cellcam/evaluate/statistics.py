"""How sure a mean is, and whether two means differ, where images come in groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_SIGNS = 10_000


class Mean(NamedTuple):
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_mean(
    values: NDArray[np.float64], groups: NDArray[np.int64] | None = None, seed: int = 0
) -> Mean:
    """Mean over images with the 95 % percentile interval of the bootstrap.

    Whole groups (movies, fields) are drawn, images where there are none.

    Parameters
    ----------
    values : (N,) array
    groups : (N,) numbers from 0

    Returns
    -------
    `Mean`; NaN without images
    """
    if not len(values):
        return Mean(np.nan, np.nan, np.nan)
    sums, counts = _by_group(values, groups)
    n = len(counts)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _RESAMPLES)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), (0.025, 0.975))
    return Mean(float(values.mean()), float(low), float(high))


def sign_flip_test(
    differences: NDArray[np.float64], groups: NDArray[np.int64] | None = None, seed: int = 0
) -> float:
    """Probability of a mean difference as large as this if two methods were alike.

    Under that hypothesis each group's differences might as well have the other sign. All ways
    to choose signs are counted where they are few, 10,000 random ones else.

    Parameters
    ----------
    differences : (N,) array, of the same images with two methods
    groups : (N,) numbers from 0

    Returns
    -------
    two-sided p value
    """
    sums, _ = _by_group(differences, groups)
    n = len(sums)
    if 2**n <= _SIGNS:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float(_as_large(signs, sums).mean())
    signs = np.random.default_rng(seed).choice([-1, 1], (_SIGNS, n))
    return float((1 + _as_large(signs, sums).sum()) / (1 + _SIGNS))


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P values adjusted for so many comparisons; Holm, Scand. J. Statist. 6 (1979)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def _as_large(signs: NDArray[Any], sums: NDArray[np.float64]) -> NDArray[np.bool_]:
    # Rounding must not make a sum smaller than itself.
    return np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)


def _by_group(
    values: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each group."""
    own = np.arange(len(values)) if groups is None else groups
    own = np.unique(own, return_inverse=True)[1]
    return np.bincount(own, values).astype(np.float64), np.bincount(own).astype(np.float64)
