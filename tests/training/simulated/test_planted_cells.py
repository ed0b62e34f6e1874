from __future__ import annotations

import numpy as np
import pytest
from cellcam_training.simulated.planted_cells import (
    CHANNELS,
    DIFFICULTIES,
    LEAKING_CLASS,
    simulate_cells,
    with_stripes,
)

STAINS = {
    "none": set(),
    "micronucleus": {"DNA"},
    "asters": {"tubulin"},
    "foci": {"marker"},
    "both": {"tubulin", "marker"},
    **{f"dot_{stain}": {stain} for stain in CHANNELS},
}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_evidence_lies_in_the_stains_of_its_class_and_within_the_cell(
    difficulty: str,
) -> None:
    cells = simulate_cells(difficulty, 40, seed=3)
    assert set(cells.classes) == set(DIFFICULTIES[difficulty])
    for name, evidence, body in zip(cells.classes, cells.evidence, cells.bodies, strict=True):
        found = {s for s, mask in zip(CHANNELS, evidence, strict=True) if mask.any()}
        assert found == STAINS[name]
        assert not (evidence.any(0) & ~body).any()


def test_evidence_is_brighter_than_the_rest_of_the_cell_in_its_stain() -> None:
    cells = simulate_cells("small", 80, seed=4)
    for pixels, evidence, body in zip(cells.pixels, cells.evidence, cells.bodies, strict=True):
        for channel, mask in zip(pixels.astype(float), evidence, strict=True):
            if mask.any():
                assert channel[mask].mean() > np.quantile(channel[body & ~mask], 0.8)


def test_the_same_seed_gives_the_same_cells_and_another_seed_others() -> None:
    first, same, other = (simulate_cells("shared", 8, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.pixels, same.pixels)
    assert (first.pixels != other.pixels).any()


def test_the_stripe_predicts_the_class_only_in_leaky_cells() -> None:
    fair, leaky = (simulate_cells("confounded", 300, 7, leaky=leaks) for leaks in (False, True))
    striped = {
        name: {
            k: cells.stripes[np.array(cells.classes) == k].any((1, 2)).mean()
            for k in DIFFICULTIES["confounded"]
        }
        for name, cells in {"fair": fair, "leaky": leaky}.items()
    }
    assert striped["leaky"] == {"none": 0, "asters": 0, LEAKING_CLASS: 1}
    assert all(0.2 < share < 0.5 for share in striped["fair"].values())
    foci = np.array(leaky.classes) == LEAKING_CLASS
    assert 0.35 < leaky.evidence[foci].any((1, 2, 3)).mean() < 0.65


def test_stripes_lie_outside_cells_and_only_add_light() -> None:
    cells = simulate_cells("confounded", 20, 8)
    striped = with_stripes(cells, 9)
    assert striped.stripes.any((1, 2)).all()
    assert (striped.stripes & cells.bodies).mean() < 0.01
    added = striped.pixels.astype(int) - cells.pixels
    new = added[:, 0] > 100
    assert not (new & ~striped.stripes).any()
    assert new.any((1, 2)).all()
    assert not added[:, 1:].any()
