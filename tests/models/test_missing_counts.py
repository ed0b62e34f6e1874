"""Gaps between counts, worked by hand."""

import numpy as np
import pytest

from cellcam.models.missing_counts import missing_counts


def evenly(counts: np.ndarray, pixels: int = 100) -> np.ndarray:
    """Four crops (4, 1, n, pixels / 4) in which each of these counts is equally frequent."""
    return np.repeat(counts, pixels).reshape(4, 1, len(counts), pixels // 4)


@pytest.mark.parametrize(
    ("factor", "missing"),
    [(1.0, 0), (0.5, 0), (1.25, 0.2), (4 / 3, 0.25), (1.6, 0.375), (2.0, 0.5), (16.0, 15 / 16)],
)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_stretched_contrast_leaves_gaps(factor: float, missing: float, dtype: type) -> None:
    counts = np.round(np.arange(1000) * factor).astype(dtype)
    assert missing_counts(evenly(counts, 400)) == pytest.approx(missing, abs=0.01)


def test_each_channel_is_judged_alone() -> None:
    crops = np.concatenate([evenly(np.arange(1000)), evenly(2 * np.arange(1000))], axis=1)
    np.testing.assert_allclose(missing_counts(crops), [0, 0.5], atol=0.01)


@pytest.mark.parametrize(
    "crops",
    [
        evenly(np.arange(200) + 0.5),  # resampled
        evenly(np.arange(200), 4),  # too few pixels for each count
        evenly(np.arange(5), 1000),  # too few counts
        np.full((4, 1, 16, 16), 7, np.uint8),
        np.full((4, 1, 16, 16), np.nan, np.float32),
        evenly(np.arange(0, 2**24, 2**14)),
    ],
)
def test_where_it_cannot_be_told_nothing_is_said(crops: np.ndarray) -> None:
    assert np.isnan(missing_counts(crops)).all()


def test_gaps_by_chance_do_not_count() -> None:
    # 12 bits and few pixels: many counts occur in no pixel, none of which is expected in many.
    random = np.random.default_rng(0)
    crops = random.exponential(400, (8, 1, 32, 32)).astype(np.uint16)
    share = missing_counts(crops)
    assert np.isnan(share) or share < 0.01
