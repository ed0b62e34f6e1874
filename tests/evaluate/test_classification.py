"""Classifier metrics against scikit-learn and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as peer

from cellcam.evaluate.classification import (
    bootstrap_intervals,
    calibration_error,
    classification_metrics,
    reliability,
)


def some_calls(n: int = 300, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, n_classes, n)
    scores = random.normal(size=(n, n_classes))
    scores[np.arange(n), truth] += 1
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return truth, probabilities


def test_agrees_with_scikit_learn() -> None:
    truth, probabilities = some_calls()
    called = probabilities.argmax(1)
    ours = classification_metrics(truth, probabilities, "abcd")
    assert ours["accuracy"] == pytest.approx(peer.accuracy_score(truth, called))
    assert ours["balanced_accuracy"] == pytest.approx(peer.balanced_accuracy_score(truth, called))
    assert ours["macro_f1"] == pytest.approx(peer.f1_score(truth, called, average="macro"))
    assert ours["confusion"] == peer.confusion_matrix(truth, called).tolist()
    assert ours["n"] == 300
    precision, recall, f1, n = peer.precision_recall_fscore_support(truth, called)
    for i, name in enumerate("abcd"):
        expected = {"precision": precision[i], "recall": recall[i], "f1": f1[i], "n": n[i]}
        assert ours["per_class"][name] == pytest.approx(expected)


def test_classes_that_do_not_occur_count_for_nothing() -> None:
    truth, probabilities = np.array([0, 0, 1]), np.eye(3)[[0, 0, 0]]
    ours = classification_metrics(truth, probabilities, "abc")
    assert ours["balanced_accuracy"] == 0.5
    assert ours["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "n": 0}


def test_calibration_error_by_hand() -> None:
    """Four calls stated at 0.7, half of them right; one at 1.0, right: 4/5 of 0.2."""
    stated = np.array([[0.7, 0.3]] * 4 + [[1.0, 0.0]])
    assert calibration_error(np.array([0, 0, 1, 1, 0]), stated) == pytest.approx(0.16)


def test_reliability_counts_every_call_once() -> None:
    truth, probabilities = some_calls()
    bins = reliability(truth, probabilities)
    assert bins[:, 2].sum() == len(truth)
    assert np.nansum(bins[:, 1] * bins[:, 2]) == (probabilities.argmax(1) == truth).sum()


def test_intervals_are_those_of_the_binomial_where_cells_stand_alone() -> None:
    """900 of 1,000 right: the standard error is 0.0095."""
    truth = np.zeros(1000, int)
    called = np.arange(1000) % 10 == 0
    low, high = bootstrap_intervals(truth, called.astype(int), "ab")["accuracy"]
    assert low == pytest.approx(0.9 - 1.96 * 0.0095, abs=0.003)
    assert high == pytest.approx(0.9 + 1.96 * 0.0095, abs=0.003)


def test_groups_of_like_cells_widen_the_intervals() -> None:
    truth = np.zeros(1000, int)
    called = (np.arange(1000) < 100).astype(int)
    groups = np.arange(1000) // 100  # one plate is all wrong
    low, high = bootstrap_intervals(truth, called, "ab", groups)["accuracy"]
    assert high - low > 0.25


def test_one_group_has_no_interval() -> None:
    truth, called = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    alone = bootstrap_intervals(truth, called, "abc", np.zeros(6, int))
    assert alone["accuracy"] is alone["balanced_accuracy"] is alone["macro_f1"] is None
    some = bootstrap_intervals(truth, called, "abc", np.array([0, 0, 0, 1, 0, 1]))
    assert some["accuracy"] is not None
    assert [some["per_class"][name]["recall"] is None for name in "abc"] == [True, False, False]
