"""Confidence intervals of means, and tests of paired differences, for images in groups."""

from __future__ import annotations

from typing import NamedTuple

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

    Whole groups (movies, fields) are resampled, or images where there are no groups.

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
    """P value of the mean paired difference, by flipping the signs of whole groups.

    Under the null hypothesis the sign of a group's differences is arbitrary. Up to 10,000 ways to
    choose signs are all counted; beyond that 10,000 random ones.

    Parameters
    ----------
    differences : (N,) array, between two methods on the same images
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
    """P values adjusted for multiple comparisons; Holm, Scand. J. Statist. 6 (1979)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def _as_large(signs: NDArray[np.integer], sums: NDArray[np.float64]) -> NDArray[np.bool_]:
    # The tolerance lets the observed signs count as large as themselves after rounding.
    return np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)


def _by_group(
    values: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each group."""
    group = np.arange(len(values)) if groups is None else groups
    group = np.unique(group, return_inverse=True)[1]
    return np.bincount(group, values).astype(np.float64), np.bincount(group).astype(np.float64)
