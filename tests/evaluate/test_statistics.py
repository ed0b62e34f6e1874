from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, false_discovery_control, permutation_test

from cellcam.evaluate.statistics import bootstrap_mean, holm, sign_flip_test


def test_intervals_agree_with_scipy_s_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2, size=200)
    ours = bootstrap_mean(values)
    peer = bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=0)
    width = peer.confidence_interval.high - peer.confidence_interval.low
    assert ours.value == values.mean()
    assert ours.low == pytest.approx(peer.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(peer.confidence_interval.high, abs=0.05 * width)


def test_cells_of_one_group_are_drawn_together() -> None:
    groups = np.repeat(np.arange(10), 50)
    values = np.repeat(np.random.default_rng(1).normal(size=10), 50)
    together = bootstrap_mean(values, groups)
    alone = bootstrap_mean(values)
    assert together.high - together.low > 4 * (alone.high - alone.low)


def test_the_exact_sign_flip_test_is_scipy_s() -> None:
    differences = np.random.default_rng(2).normal(0.5, 1, 11)
    peer = permutation_test(
        (differences, np.zeros(11)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**11,
    )
    assert sign_flip_test(differences) == pytest.approx(peer.pvalue, abs=1e-12)


def test_random_signs_come_near_the_exact_test() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 40)
    peer = permutation_test(
        (differences, np.zeros(40)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20000,
        rng=0,
    )
    assert sign_flip_test(differences) == pytest.approx(peer.pvalue, abs=0.01)


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip_test(np.zeros(30)) == 1


def test_holm_by_hand() -> None:
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])
    # Never smaller than what controls less: the rate of false discoveries.
    assert (found >= false_discovery_control([0.01, 0.04, 0.03, 0.005]) - 1e-12).all()


def test_without_images_there_is_no_mean() -> None:
    assert np.isnan(bootstrap_mean(np.array([]))).all()
