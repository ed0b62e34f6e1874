"""What is recognised as fill, against where it was put; and what must not be taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mosaics import (
    Change,
    border,
    clipped,
    field_of_cells,
    masked_cells,
    saturated,
    turned,
    with_hole,
)

from cellcam import Stack, ThresholdFinder, find_cells
from cellcam.cells.finder import FieldView
from cellcam.cells.no_data import FieldSample, Fill, measure_fill, missing_pixels

CROP = 48


def filled(pixels: np.ndarray) -> tuple[Fill, np.ndarray]:
    fill = measure_fill([FieldSample(pixels)], ["DNA", "actin"], CROP)
    missing = missing_pixels(pixels, fill)
    return fill, np.zeros(pixels.shape[1:], bool) if missing is None else missing


@pytest.mark.fault("13 a mosaic has a border of one value", "the border, no more, is left out")
@pytest.mark.parametrize("value", [0, 7, 65535])
@pytest.mark.parametrize("width", [3, 70])
def test_a_border_of_one_value_is_fill(value: int, width: int) -> None:
    pixels = border(field_of_cells(), value, width)
    expected = np.ones(pixels.shape[1:], bool)
    expected[width:, :-width] = False
    fill, missing = filled(pixels)
    assert fill.values == ((float(value),) * 2,)
    assert (missing >= expected).all()
    # Beside the border single pixels may be taken for interpolated ones.
    assert (missing & ~expected).mean() < 0.01
    assert fill.part == pytest.approx(missing.mean(), abs=1e-4)


@pytest.mark.fault("a tile of a mosaic is missing", "the hole is left out")
def test_a_missing_tile_is_fill() -> None:
    _, missing = filled(with_hole(field_of_cells()))
    assert missing[128:224, 96:192].all()
    assert 96 * 96 <= missing.sum() < 96 * 96 + 30


@pytest.mark.fault("a registered image is turned", "fill and its interpolated rim are left out")
@pytest.mark.parametrize("order", [1, 3])
def test_the_interpolated_rim_of_fill_belongs_to_it(order: int) -> None:
    _, missing = filled(turned(field_of_cells(), order))
    inside = turned(np.ones((2, 320, 320)), 1).min(0)
    assert missing[inside == 0].mean() > 0.998
    assert missing[inside > 0.999].mean() < 0.001


@pytest.mark.fault("13 NaN or infinity in an image", "these pixels are left out")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_has_no_data(value: float) -> None:
    pixels = field_of_cells().astype(np.float32)
    pixels[1, 5, 7] = value
    _, missing = filled(pixels)
    assert np.argwhere(missing).tolist() == [[5, 7]]


def test_several_kinds_of_fill_are_found() -> None:
    pixels = field_of_cells().astype(np.float32)
    pixels[:, :40], pixels[:, -50:], pixels[:, :, :30] = 0, 4095, np.nan
    fill, missing = filled(pixels)
    assert {values[0] for values in fill.values} == {0, 4095}
    assert missing[:40].all()
    assert missing[-50:].all()
    assert missing[:, :30].all()
    assert not missing[43:-53, 33:].any()


def test_fill_in_the_middle_of_the_range_is_found() -> None:
    pixels = border(field_of_cells().astype(np.float32) - 100, 0)
    assert filled(pixels)[1].mean() > 0.38


def test_a_drawn_image_may_have_a_border_and_no_other_fill() -> None:
    drawn = 100 + 300 * (field_of_cells() > 150).astype(np.uint16)
    assert filled(border(drawn))[0].values == ((0, 0),)
    y, x = np.mgrid[:320, :320]
    for cell in (np.hypot(y - 160, x - 160) < 130, (abs(y - 160) < 80) & (abs(x - 160) < 80)):
        image = np.where(cell, 900, 100).astype(np.uint16)
        assert filled(np.stack([image, image]))[0].values == ()


@pytest.mark.fault("a black background is clipped to 0", "it is a background, not missing data")
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels,
        clipped,
        lambda pixels: clipped(pixels, 200),
        masked_cells,
        saturated,
        np.zeros_like,
        lambda pixels: np.full_like(pixels, 100) + 300 * (pixels > 150),
    ],
    ids=["as it is", "clipped", "clipped more", "masked", "saturated", "empty", "drawn"],
)
def test_background_and_saturation_are_not_fill(change: Change) -> None:
    fill, missing = filled(np.asarray(change(field_of_cells())).astype(np.uint16))
    assert not missing.any()
    assert fill.part == 0


@pytest.mark.parametrize("blur", [1, 3])
def test_tissue_that_ends_in_a_black_background_is_not_fill(blur: float) -> None:
    from scipy.ndimage import gaussian_filter

    x = np.mgrid[:320, :320][1]
    light = gaussian_filter(np.where(x < 160, 200.0, 0.0), blur)
    noisy = np.random.default_rng(0).poisson(light).astype(np.uint16)
    assert not filled(np.stack([noisy, noisy]))[1].any()


@given(st.integers(0, 10**6))
def test_a_block_has_the_same_missing_pixels_as_the_field(seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = turned(field_of_cells(200, 12, seed), 1)
    fill, missing = filled(pixels)
    y, x = random.integers(0, 100, 2)
    block = missing_pixels(pixels[:, y : y + 90, x : x + 90], fill)
    inner = np.zeros((90, 90), bool) if block is None else block
    kept = slice(15, -15), slice(15, -15)
    np.testing.assert_array_equal(inner[kept], missing[y : y + 90, x : x + 90][kept])


def test_a_huge_field_is_measured_on_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = border(field_of_cells(640, 96), 0, 40)
    monkeypatch.setattr("cellcam.cells.finder.SAMPLE_PIXELS", 2**17)
    monkeypatch.setattr("cellcam.cells.finder.SAMPLE_EDGE", 128)
    stack = Stack.from_array(pixels, "CYX", ["DNA", "actin"])
    fill = FieldView.whole(stack).with_fill(["DNA", "actin"], CROP).fill
    assert fill.values == ((0, 0),)


def test_a_hole_that_no_sample_shows_is_known_by_its_distance_from_the_data() -> None:
    pixels = field_of_cells()
    fill = measure_fill([FieldSample(pixels, (False,) * 4)], "ab", CROP, whole=False)
    missing = missing_pixels(with_hole(pixels), fill)
    assert missing is not None
    assert 96 * 96 <= missing.sum() < 96 * 96 + 30
    low = measure_fill([FieldSample(clipped(pixels), (False,) * 4)], "ab", CROP, whole=False)
    assert low.values == ()


@pytest.mark.fault(
    "a border of zeros of 40 % of the field", "the cells are those of the field without border"
)
@pytest.mark.parametrize("value", [0.0, np.nan, 9999.0])
def test_cells_are_found_as_if_the_border_were_not_there(value: float) -> None:
    pixels = field_of_cells().astype(np.float32)
    inner = Stack.from_array(pixels[:, 70:, :-70], "CYX", ["DNA", "actin"])
    whole = Stack.from_array(border(pixels, value), "CYX", ["DNA", "actin"])
    expected = find_cells(inner, "DNA", diameter=16)
    found = find_cells(whole, "DNA", diameter=16)
    assert found.max() == expected.max() > 5
    assert not found[:70].any()
    assert not found[:, -70:].any()
    agreement = ((found[70:, :-70] > 0) == (expected > 0)).mean()
    assert agreement > 0.995


def test_threshold_and_diameter_are_those_of_the_data() -> None:
    pixels = field_of_cells()
    finder = ThresholdFinder("DNA")
    measured = []
    for image in (pixels[:, 70:, :-70], border(pixels)):
        view = FieldView.whole(Stack.from_array(image, "CYX", ["DNA", "actin"]))
        measured.append(finder.measure(view.with_fill(["DNA", "actin"], CROP)))
    assert measured[1].threshold == pytest.approx(measured[0].threshold, rel=0.02)
    assert measured[1].diameter == pytest.approx(measured[0].diameter, rel=0.05)
