from __future__ import annotations

import numpy as np

from cellcam.evaluate.classification import classification_metrics
from cellcam.evaluate.localisation import energy_inside


def test_energy_inside_by_hand() -> None:
    maps = np.array([[[1, 3], [0, 4]], [[2, 2], [2, 2]]], np.float32)
    region = np.array([[True, False], [False, True]])
    np.testing.assert_allclose(energy_inside(maps, np.stack([region, ~region])), [5 / 8, 0.5])


def test_an_empty_map_has_no_share() -> None:
    assert np.isnan(energy_inside(np.zeros((1, 2, 2)), np.ones((1, 2, 2), bool)))[0]


def test_classification_metrics_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

    random = np.random.default_rng(0)
    truth, called = random.integers(0, 4, 200), random.integers(0, 4, 200)
    metrics = classification_metrics(truth, called, "abcd")
    np.testing.assert_allclose(metrics["accuracy"], accuracy_score(truth, called))
    np.testing.assert_allclose(metrics["balanced_accuracy"], balanced_accuracy_score(truth, called))
    np.testing.assert_array_equal(metrics["confusion"], confusion_matrix(truth, called))
    assert metrics["n"] == 200
