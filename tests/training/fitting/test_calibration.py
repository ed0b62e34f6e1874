from __future__ import annotations

import numpy as np
import pytest
from cellcam_training.fitting.calibration import (
    cross_fitted,
    fitted_temperature,
    softmax,
    uncertainty_threshold,
)

from cellcam.evaluate.classification import calibration_error


def overconfident(n: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits multiplied by ``factor``, and classes drawn with the probabilities before that."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(n, 3)) * 1.5
    drawn = (softmax(logits).cumsum(1) < random.random((n, 1))).sum(1)
    return factor * logits, np.minimum(drawn, 2)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_factor_of_overconfidence(factor: float) -> None:
    assert fitted_temperature(*overconfident(factor=factor)) == pytest.approx(factor, rel=0.07)


def test_cross_fitted_probabilities_are_calibrated() -> None:
    logits, truth = overconfident()
    before = calibration_error(truth, softmax(logits))
    after = calibration_error(truth, cross_fitted(logits, truth, np.arange(len(truth))))
    assert before > 0.12
    assert after < 0.03


def test_the_threshold_keeps_the_risk_in_a_hand_worked_case() -> None:
    """Ten calls, most confident first; the sixth and the ninth are wrong: 1 of 8 is 12.5 %."""
    stated = np.linspace(0.99, 0.6, 10)
    probabilities = np.stack([stated, 1 - stated], 1)
    truth = np.zeros(10, int)
    truth[[5, 8]] = 1
    assert uncertainty_threshold(probabilities, truth, 0.13) == pytest.approx(stated[7])
    assert uncertainty_threshold(probabilities, truth, 0.05) == pytest.approx(stated[4])
    assert uncertainty_threshold(probabilities, truth, 0.2) == pytest.approx(stated[9])


def test_the_threshold_is_1_if_none_keeps_the_risk() -> None:
    assert uncertainty_threshold(np.array([[0.9, 0.1]]), np.array([1]), 0.05) == 1.0
