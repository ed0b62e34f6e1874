import numpy as np
import pytest
from cellcam_training.fitting.training_cells import measure_training_cells, measured_cells
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cellcam.models.appearance import Measures, appearance
from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import NormalScores, TrainingCells
from cellcam.models.unlike import in_words, measures_of, unlike_cells

CHANNELS = ("DNA", "actin")


def simulated(n: int, seed: int) -> np.ndarray:
    """Crops (N, 2, 32, 32) of blurred discs on camera noise, as uint16 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    crops = np.empty((n, 2, 32, 32))
    for crop in crops:
        radius = rng.uniform(5, 8)
        disc = 1 / (1 + np.exp((np.hypot(y, x) - radius) * 1.5))
        ring = np.exp(-((np.hypot(y, x) - radius) ** 2) / 6)
        for plane, shape, level in zip(crop, (disc, ring), (800, 400), strict=True):
            light = 100 + level * rng.uniform(0.8, 1.25) * shape
            plane[:] = light + rng.normal(0, np.sqrt(light))
    return np.clip(np.round(crops), 0, 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def known() -> tuple[TrainingCells, Normalisation]:
    crops = simulated(600, 0)
    normalisation = Normalisation.measured(crops)
    measures, groups = measured_cells(crops, normalisation, np.arange(600))
    return measure_training_cells(measures, groups), normalisation


def unlike(known, crops):
    return unlike_cells(known[0], crops, known[1], CHANNELS)


DISTORTIONS = {
    "scaled to 0..1": (lambda c: (c / 65535).astype(np.float32), ("brightness", "empty", "noise")),
    "bits shifted": (lambda c: c * 16, ("brightness",)),
    "half as bright": (lambda c: c // 2, ("brightness", "background")),
    "offset": (lambda c: c + 800, ("background",)),
    "stretched": (
        lambda c: (
            (c - c.min((2, 3), keepdims=True)) / np.ptp(c, (2, 3), keepdims=True) * 65535
        ).astype(np.uint16),
        ("brightness", "background"),
    ),
    "inverted": (lambda c: 2000 - c.astype(np.int32), ("inverted",)),
    "other depth": (lambda c: (c / 16).astype(np.uint8), ("brightness", "background")),
    "swapped": (lambda c: c[:, ::-1], ("exchanged",)),
    "blurred": (lambda c: ndimage.gaussian_filter(c.astype(np.float32), (0, 0, 1.5, 1.5)), ()),
    "magnified": (lambda c: ndimage.zoom(c[..., 8:24, 8:24], (1, 1, 2, 2), order=1), ()),
    "noisy": (lambda c: c + np.random.default_rng(1).normal(0, 150, c.shape), ("noise",)),
    "empty": (lambda c: np.full_like(c, 100), ("empty", "brightness")),
}


@pytest.mark.fault(
    "image unlike the training data: scaled, shifted, stretched, inverted, other depth, swapped "
    "channels, blurred, magnified, noisy, empty",
    "at least 90 % of its cells are flagged, with what differs",
)
@pytest.mark.parametrize("name", DISTORTIONS)
def test_distorted_cells_are_unlike_and_say_why(known, name):
    distort, kinds = DISTORTIONS[name]
    seen = unlike(known, distort(simulated(100, 2)))
    assert (seen.values > 1).mean() >= 0.9
    usual = max(set(seen.differs), key=seen.differs.count)
    assert not kinds or usual.rpartition(" ")[2] in kinds


def test_cells_of_the_same_kind_are_rarely_unlike(known):
    assert (unlike(known, simulated(1000, 3)).values > 1).mean() <= 0.02


def test_the_figure_is_the_factor_or_the_shift(known):
    brighter = unlike(known, simulated(50, 2) * 16)
    assert {text.rpartition(" ")[2] for text in brighter.differs} == {"brightness"}
    assert np.median(brighter.by) == pytest.approx(16, rel=0.15)
    shifted = unlike(known, simulated(50, 2) + 800)
    assert np.median(shifted.by) == pytest.approx(800, rel=0.02)


def test_few_training_cells_flag_few_others():
    # 20 cells cannot bound 1 % of the others, but most others must pass.
    crops = simulated(20, 0)
    normalisation = Normalisation.measured(crops)
    few = measure_training_cells(*measured_cells(crops, normalisation, np.arange(20)))
    other = unlike_cells(few, simulated(300, 1), normalisation, CHANNELS)
    assert (other.values > 1).mean() < 0.05
    bright = unlike_cells(few, simulated(50, 1) * 16, normalisation, CHANNELS)
    assert (bright.values > 1).mean() > 0.9


def test_distances_are_those_of_brute_force(known):
    cells, normalisation = known
    measures = measures_of(simulated(20, 5), normalisation)
    scores = NormalScores(cells.reference)
    points = scores(cells.reference).astype(float) @ cells.whitening
    others = scores(measures).astype(float) @ cells.whitening
    far, sparse = cells.distances(measures)
    for i, point in enumerate(others):
        from_all = np.linalg.norm(points - point, axis=1)
        nearest = np.argsort(from_all)[:6]
        assert far[i] == pytest.approx(from_all[nearest[-1]], rel=1e-2)
        own = [np.sort(np.linalg.norm(points - points[j], axis=1))[6] for j in nearest]
        assert sparse[i] == pytest.approx(far[i] / np.median(own), rel=0.08)


@given(
    factor=st.floats(0.1, 50),
    shift=st.floats(-500, 5000),
    axes=st.sampled_from([(9, 12), (16, 16), (3, 8, 10)]),
)
def test_measures_do_not_depend_on_the_units(factor, shift, axes):
    # Counts in other units, with a normalisation in the same units, look the same.
    crops = np.random.default_rng(0).normal(1000, 200, (4, 2, *axes)).astype(np.float32)
    mean, spread = np.full(2, 1000, np.float32), np.full(2, 200, np.float32)
    one = appearance(crops, mean, spread)
    other = appearance(crops * factor + shift, mean * factor + shift, spread * factor)
    assert one.shape == (4, 2, len(Measures._fields))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, other, atol=0.02)


def test_measures_of_constant_crops_are_finite():
    for level in (0, 255, 65535):
        crops = np.full((2, 1, 16, 16), level, np.uint16)
        assert np.isfinite(appearance(crops, np.zeros(1, np.float32), np.ones(1, np.float32))).all()


@pytest.mark.fault("counts too large for numbers", "the cell is unlike, not without a figure")
@pytest.mark.parametrize("count", [1e20, 1e38, -1e38])
def test_counts_beyond_numbers_are_unlike(known, count):
    crops = simulated(3, 2).astype(np.float32)
    crops[:, 0, 2, 2] = count
    seen = unlike(known, crops)
    assert np.isfinite(seen.values).all()
    assert (seen.values > 1).all()
    assert all(seen.differs)


def test_differences_in_words():
    assert in_words("DNA brightness", 16.2) == "DNA is 16 times as bright as in training"
    assert "+800 counts" in in_words("DNA background", 800)
    assert in_words("DNA and actin exchanged", np.nan) == "DNA and actin look exchanged"
