"""A model that guesses is called so."""

from __future__ import annotations

import numpy as np
import pytest
from cellcam_training.judging.predictions import LabelledPredictions, guessing_warnings

CLASSES = ("G1", "S", "G2", "M")
TRUTH = np.arange(40) % 4


def warnings_of(called: np.ndarray, groups: np.ndarray) -> tuple[str, ...]:
    """Warnings of a model that makes these calls of the cells."""
    predictions = LabelledPredictions(TRUTH, np.eye(4)[called], groups)
    return guessing_warnings(predictions.metrics(CLASSES))


@pytest.mark.parametrize("groups", [np.arange(40), np.zeros(40, int)], ids=["cells", "one plate"])
def test_one_class_for_all_cells_is_guessing(groups: np.ndarray) -> None:
    (warning,) = warnings_of(np.ones(40, int), groups)
    assert warning.startswith("A balanced accuracy of 0.25 is no better than guessing (0.25)")


def test_few_correct_calls_more_than_by_chance_may_be_guessing() -> None:
    called = np.ones(40, int)
    called[:4] = TRUTH[:4]
    (warning,) = warnings_of(called, np.arange(40))
    # One of ten correct in each of three classes, ten of ten in the other.
    expected = (3 * 0.1 + 1) / 4
    assert warning.startswith(f"A balanced accuracy of {expected:.2f} may be no better")


def test_correct_calls_are_no_guessing() -> None:
    assert not warnings_of(TRUTH, np.arange(40))
