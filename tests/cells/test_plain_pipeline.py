"""The finder's fast steps beside scikit-image and SciPy: equal to the pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import remove_small_holes, remove_small_objects
from support.plain_finder import (
    in_reading_order,
    plain_cells,
    plain_split,
    plain_threshold,
    plain_watershed,
)

from cellcam import find_cells, open_stack
from cellcam.cells import distance, flooding, no_data, splitting
from cellcam.cells.connected_parts import (
    parts_larger_than,
    sizes_without_holes,
    without_small_holes,
)
from cellcam.cells.distance import distance_to_background
from cellcam.cells.gaussian import gaussian_mean, with_odd_rows
from cellcam.cells.otsu import contrast, otsu_of_root
from cellcam.cells.splitting import peaks_of_parts, split_parts
from cellcam.stacks.stack import PixelSize, Stack

SQUARE = (1.0, 1.0)


@st.composite
def masks(draw: st.DrawFn, most: int = 40) -> np.ndarray:
    """Masks of 2 or 3 axes: noise of any grain, lines, nothing, everything."""
    n_axes = draw(st.sampled_from([2, 2, 3]))
    shape = tuple(draw(st.integers(1, most if n_axes == 2 else 12)) for _ in range(n_axes))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grain = draw(st.sampled_from([0.0, 0.7, 1.5, 3.0]))
    noise = ndimage.gaussian_filter(random.random(shape), grain)
    return noise > np.quantile(noise, draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 0.97])))


@given(mask=masks(), size=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_parts_are_those_of_scikit_image(mask: np.ndarray, size: int) -> None:
    np.testing.assert_array_equal(
        without_small_holes(mask, size), remove_small_holes(mask, max_size=size)
    )
    kept = remove_small_objects(mask, max_size=size)
    expected, count = ndimage.label(kept)
    parts, sizes = parts_larger_than(mask, size)
    np.testing.assert_array_equal(in_reading_order(parts), in_reading_order(expected))
    assert len(sizes) == count
    np.testing.assert_array_equal(sizes, np.bincount(parts.ravel(), minlength=count + 1)[1:])


@given(mask=masks())
@settings(max_examples=100, deadline=None)
def test_sizes_without_holes_are_those_of_scipy(mask: np.ndarray) -> None:
    parts, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    expected = np.bincount(parts.ravel())[1:]
    np.testing.assert_array_equal(np.sort(sizes_without_holes(mask)), np.sort(expected))


class TestDistance:
    @given(mask=masks())
    @settings(max_examples=100, deadline=None)
    def test_equals_scipy(self, mask: np.ndarray) -> None:
        spacing = (1.0,) * mask.ndim
        np.testing.assert_array_equal(
            distance_to_background(mask, spacing),
            ndimage.distance_transform_edt(mask, sampling=spacing),
        )

    def test_is_that_of_the_nearest_pixel_outside(self) -> None:
        mask = np.random.default_rng(0).random((30, 25)) < 0.97
        outside = np.argwhere(~mask)
        y, x = np.mgrid[:30, :25]
        squares = (y[..., None] - outside[:, 0]) ** 2 + (x[..., None] - outside[:, 1]) ** 2
        np.testing.assert_array_equal(
            distance_to_background(mask, SQUARE), np.sqrt(squares.min(-1))
        )

    @pytest.mark.parametrize("radius", [178, 179, 180, 181, 182, 260])
    def test_on_both_sides_of_the_farthest(self, radius: int) -> None:
        mask = np.ones((radius, 2 * radius + 9), bool)
        mask[0, 0] = mask[-1, -1] = False
        y, x = np.mgrid[:400, :600]
        disc = np.hypot(y - 200, x - 290) < radius
        for one in (mask, mask.T, disc):
            np.testing.assert_array_equal(
                distance_to_background(one, SQUARE), ndimage.distance_transform_edt(one)
            )

    def test_strips_do_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mask = ndimage.gaussian_filter(np.random.default_rng(1).random((60, 50)), 2) > 0.49
        monkeypatch.setattr(distance, "_STRIP", 1)
        np.testing.assert_array_equal(
            distance_to_background(mask, SQUARE), ndimage.distance_transform_edt(mask)
        )

    def test_pixels_that_are_not_square(self) -> None:
        mask = ndimage.gaussian_filter(np.random.default_rng(1).random((60, 50)), 2) > 0.49
        np.testing.assert_array_equal(
            distance_to_background(mask, (2.5, 1.0)),
            ndimage.distance_transform_edt(mask, sampling=(2.5, 1.0)),
        )


@given(
    mask=masks(),
    levels=st.sampled_from([0, 2, 6]),
    min_distance=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=250, deadline=None)
def test_splitting_is_that_of_scikit_image(
    mask: np.ndarray, levels: int, min_distance: int, seed: int
) -> None:
    """Also where peaks are equal, parts are even, and parts lie in each other's windows."""
    depth = ndimage.gaussian_filter(np.random.default_rng(seed).random(mask.shape), 1) + 0.1
    depth = (np.ceil(depth * levels) if levels else depth) * mask
    parts, sizes = parts_larger_than(mask, 4)
    depth = depth * (parts > 0)
    peaks = peak_local_max(
        depth, min_distance=min_distance, labels=parts, exclude_border=False
    ).reshape(-1, mask.ndim)
    found = peaks_of_parts(parts, sizes, depth, min_distance)
    assert sorted(map(tuple, found)) == sorted(map(tuple, peaks))
    expected = in_reading_order(plain_watershed(depth, peaks, parts > 0))
    np.testing.assert_array_equal(split_parts(parts, sizes, depth, min_distance), expected)


@given(
    mask=masks(),
    relief=st.sampled_from(["noise", "steps", "distance", "smooth distance"]),
    levels=st.sampled_from([2, 6, 20]),
    count=st.integers(1, 12),
    seed=st.integers(0, 9999),
)
@settings(max_examples=300, deadline=None)
def test_flooding_is_that_of_scikit_image(
    mask: np.ndarray, relief: str, levels: int, count: int, seed: int
) -> None:
    """From any pixels, peaks or not: hollows without a peak, wide plateaus, equal neighbours."""
    random = np.random.default_rng(seed)
    parts, sizes = parts_larger_than(mask, 0)
    noise = ndimage.gaussian_filter(random.random(mask.shape), 1) + 0.1
    distance = ndimage.distance_transform_edt(mask)
    depth = (
        mask
        * {
            "noise": noise,
            "steps": np.ceil(noise * levels),
            "distance": distance,
            "smooth distance": ndimage.gaussian_filter(distance, 1),
        }[relief]
    )
    inside = np.argwhere(mask)
    chosen_ones = random.choice(len(inside), min(count, len(inside)), replace=False)
    sources = inside[np.sort(chosen_ones)]
    if not len(sources):
        return
    chosen = np.zeros(len(sizes) + 1, bool)
    chosen[parts[tuple(sources.T)]] = True
    number = np.arange(1, len(sources) + 1, dtype=np.int32)
    found = flooding.flooded(parts, chosen, depth, sources, number)
    expected = plain_watershed(depth, sources, chosen[parts])
    np.testing.assert_array_equal(in_reading_order(found), in_reading_order(expected))


def test_flooding_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = ndimage.gaussian_filter(np.random.default_rng(0).random((50, 60)), 1)
    parts, sizes = parts_larger_than(depth > 0.48, 4)
    whole = split_parts(parts, sizes, depth * (parts > 0), 3)
    monkeypatch.setattr(flooding, "_CHUNK", 7)
    np.testing.assert_array_equal(split_parts(parts, sizes, depth * (parts > 0), 3), whole)


@given(
    count=st.integers(2, 3000),
    kind=st.sampled_from(["even", "whole", "few", "wide"]),
    seed=st.integers(0, 9999),
)
@settings(max_examples=150, deadline=None)
def test_threshold_is_that_of_scikit_image(count: int, kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = {
        "even": random.random(count),
        "whole": random.integers(0, 256, count),
        "few": random.integers(0, 3, count),
        "wide": np.exp(4 * random.standard_normal(count)),
    }[kind].astype(np.float32)
    if values.min() < values.max():
        assert otsu_of_root(np.sort(values)) == plain_threshold(values)
        threshold = float(values.mean())
        expected = values[values > threshold].mean() - values[values <= threshold].mean()
        assert contrast(np.sort(values), threshold) == pytest.approx(expected, rel=1e-3)


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 70), st.integers(1, 70)),
        st.tuples(st.integers(1, 8), st.integers(1, 20), st.integers(1, 70)),
    ),
    dtype=st.sampled_from([np.float32, np.float64]),
    sigma=st.floats(0.3, 6),
    in_place=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_means_are_those_of_scipy(
    shape: tuple[int, ...], dtype: type, sigma: float, in_place: bool
) -> None:
    image = with_odd_rows(shape, dtype)
    image[...] = np.random.default_rng(0).random(shape)
    sigmas = np.linspace(sigma, 0.5, len(shape))
    expected = ndimage.gaussian_filter(image.copy(), sigmas)
    means = gaussian_mean(image, sigmas, in_place=in_place)
    assert (means is image) == in_place
    np.testing.assert_array_equal(means, expected)


def test_rows_are_an_odd_number_of_cache_lines_apart() -> None:
    for width in (1, 15, 16, 17, 1024, 1400):
        rows = with_odd_rows((3, width), np.float32)
        assert rows.shape == (3, width)
        assert rows.strides[0] % 128 == 64


def test_windows_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = ndimage.gaussian_filter(np.random.default_rng(0).random((50, 60)), 1)
    parts, sizes = parts_larger_than(depth > 0.48, 4)
    whole = peaks_of_parts(parts, sizes, depth * (parts > 0), 3)
    monkeypatch.setattr(splitting, "_LOOKED_AT", 1)
    np.testing.assert_array_equal(peaks_of_parts(parts, sizes, depth * (parts > 0), 3), whole)


@given(mask=masks(), edge=st.integers(1, 9), by=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_windows_are_those_of_scipy(mask: np.ndarray, edge: int, by: int) -> None:
    along = (1,) * (mask.ndim - 2)
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(edge, edge)] * 2, constant_values=True)
    opened = ndimage.binary_opening(padded, np.ones((*along, edge, edge)))
    np.testing.assert_array_equal(
        no_data._opened(mask, edge), opened[..., edge:-edge, edge:-edge] | mask.all()
    )
    size = (*along, 2 * by + 1, 2 * by + 1)
    np.testing.assert_array_equal(no_data._grown(mask, by), ndimage.maximum_filter(mask, size))


@given(count=st.integers(1, 200), channels=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_kinds_of_pixels_are_those_of_numpy(count: int, channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-2, 3, (count, channels)).astype(float)
    weights = random.integers(1, 9, count)
    kinds, sums = no_data._kinds(values, weights)
    expected, which = np.unique(values, axis=0, return_inverse=True)
    np.testing.assert_array_equal(kinds, expected)
    np.testing.assert_array_equal(sums, np.bincount(which.ravel(), weights))


def _blobs(shape: tuple[int, ...], diameter: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.standard_normal(shape), diameter / 4)
    return random.poisson(50 + 400 * np.clip(field / field.std(), 0, None) ** 0.5)


@given(
    shape=st.one_of(
        st.tuples(st.integers(20, 150), st.integers(20, 150)),
        st.tuples(st.integers(3, 10), st.integers(20, 50), st.integers(20, 50)),
    ),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
    diameter=st.floats(3, 30),
    spacing=st.sampled_from([1.0, 2.5]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_cells_equal_those_of_the_plain_pipeline(
    shape: tuple[int, ...], dtype: type, diameter: float, spacing: float, seed: int
) -> None:
    image = np.clip(_blobs(shape, diameter, seed), 0, np.iinfo(np.uint8).max).astype(dtype)
    spacings = (spacing, 1.0, 1.0)[-len(shape) :]
    stack = Stack.from_array(image, "ZYX"[-len(shape) :], ["DNA"], PixelSize(spacing, 1.0, 1.0))
    found = find_cells(stack, diameter=diameter, z="volume" if len(shape) == 3 else None)
    expected = plain_cells(image, diameter, spacings)
    if found.any():  # the plain pipeline has no test for noise
        np.testing.assert_array_equal(found, expected)


def test_pixels_without_data_stay_out_of_cells() -> None:
    image = _blobs((120, 140), 14, 0).astype(np.float32)
    image[:, :33] = np.nan
    image[50:53, 60:110] = np.nan
    data = np.isfinite(image)
    total, weight = (ndimage.gaussian_filter(one, 14 / 12) for one in (
        np.where(data, image, 0), data.astype(np.float32)
    ))  # fmt: skip
    smooth = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3)
    expected = plain_split(data & (smooth > 300), 14, SQUARE, data)
    stack = Stack.from_array(image, "YX", ["DNA"])
    assert expected.max() > 5
    np.testing.assert_array_equal(find_cells(stack, diameter=14, threshold=300), expected)


@pytest.mark.parametrize(
    ("file", "channel"),
    [
        ("neubias/xy_8bit__mitocheck_incenp_t1.tif", 0),
        ("neubias/xyc_16bit__nuclei_tubulin.tif", 0),
        ("cellprofiler/bbbc013/Channel2-01-A-01.tif", 0),
        ("cpexamples/ExampleHuman/AS_09125_050116030001_D03f00d0.tif", 0),
    ],
)
@pytest.mark.parametrize("diameter", [8, 20, 45])
def test_real_cells_equal_those_of_the_plain_pipeline(
    shared_data: Path, file: str, channel: int, diameter: float
) -> None:
    path = shared_data / "tiff_zoo" / file
    image = open_stack(path, pixel_size_um=(None, None, None)).field()[channel]
    found = find_cells(Stack.from_array(image, "YX", ["DNA"]), diameter=diameter)
    np.testing.assert_array_equal(found, plain_cells(image, diameter))


def test_a_block_holds_the_cells_of_the_field() -> None:
    from cellcam.cells.finder import FieldView
    from cellcam.cells.threshold_finder import ThresholdFinder
    from cellcam.stacks.blocks import Part

    image = _blobs((400, 420), 12, 3)
    finder = ThresholdFinder("DNA", diameter=12)
    view = FieldView.whole(Stack.from_array(image, "YX", ["DNA"]))
    scale = finder.measure(view)
    whole, border = finder.label(view, scale), finder.border(scale)
    for y, x in [(0, 0), (61, 0), (113, 207)]:
        part = Part((y, x), (y + 200, x + 190), image.shape)
        cut = finder.label(view.cut(part), scale)
        inner = tuple(slice(border if low else 0, -border) for low in (y, x))
        ours, theirs = cut[inner], whole[part.slices][inner]
        assert ours.max() > 3
        np.testing.assert_array_equal(ours > 0, theirs > 0)
        np.testing.assert_array_equal(in_reading_order(ours), in_reading_order(theirs))


def test_labelling_again_gives_the_same_cells() -> None:
    """What measuring keeps for labelling is used once."""
    from cellcam.cells.finder import FieldView
    from cellcam.cells.threshold_finder import ThresholdFinder

    finder = ThresholdFinder("DNA", diameter=12)
    view = FieldView.whole(Stack.from_array(_blobs((90, 80), 12, 3), "YX", ["DNA"]))
    scale = finder.measure(view)
    assert view.kept
    once = finder.label(view, scale)
    assert not view.kept
    np.testing.assert_array_equal(finder.label(view, scale), once)
