from __future__ import annotations

import numpy as np

from cellcam.evaluate.localisation import energy_inside


def test_energy_inside_by_hand() -> None:
    maps = np.array([[[1, 3], [0, 4]], [[2, 2], [2, 2]]], np.float32)
    region = np.array([[True, False], [False, True]])
    np.testing.assert_allclose(energy_inside(maps, np.stack([region, ~region])), [5 / 8, 0.5])


def test_an_empty_map_has_no_share() -> None:
    assert np.isnan(energy_inside(np.zeros((1, 2, 2)), np.ones((1, 2, 2), bool)))[0]
