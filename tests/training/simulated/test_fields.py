from __future__ import annotations

import numpy as np
from cellcam_training.simulated.fields import CLASSES, EVIDENCE_CHANNEL, simulate_field

FIELD = simulate_field(5)


def test_the_same_seed_gives_the_same_field() -> None:
    np.testing.assert_array_equal(FIELD.pixels, simulate_field(5).pixels)


def test_evidence_is_brighter_than_the_cell_around_it_in_its_channel() -> None:
    projected = FIELD.pixels.max(1).astype(float)
    for number, name in enumerate(FIELD.classes, start=1):
        planted = FIELD.evidence == number
        if name == "interphase":
            assert not planted.any()
            continue
        channel = ("DNA", "tubulin", "marker").index(EVIDENCE_CHANNEL[name])
        background = np.median(projected[channel])
        if planted.sum() > 20:
            assert projected[channel][planted].mean() > 1.3 * background


def test_every_class_occurs() -> None:
    assert set(FIELD.classes) == set(CLASSES)
