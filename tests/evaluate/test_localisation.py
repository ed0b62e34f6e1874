from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from cellcam.evaluate.localisation import (
    box_regions,
    energy_inside,
    largest_inside,
    parts_of_cells,
    points_inside,
    rims,
)

SHAPES = st.tuples(st.integers(1, 4), array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))


@st.composite
def maps_and_regions(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    n, shape = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    # Few different values, so that ties are the rule.
    maps = random.integers(0, draw(st.sampled_from([2, 5, 10**6])), (n, *shape))
    regions = random.random((n, *shape)) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    return maps.astype(np.float32), regions


@given(maps_and_regions())
def test_energy_inside_is_the_sum_pixel_by_pixel(given: tuple[np.ndarray, np.ndarray]) -> None:
    found = energy_inside(*map(torch.from_numpy, given)).numpy()
    for value, own, region in zip(found, *given, strict=True):
        inside = sum(float(own[i]) for i in np.ndindex(own.shape) if region[i])
        total = sum(float(own[i]) for i in np.ndindex(own.shape))
        expected = inside / total if total else np.nan
        np.testing.assert_allclose(value, expected, rtol=1e-9)


@given(maps_and_regions(), st.integers(0, 100))
def test_largest_inside_is_the_mean_over_orders_of_equal_pixels(
    given: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    found = largest_inside(*map(torch.from_numpy, given)).numpy()
    random = np.random.default_rng(seed)
    for value, own, region in zip(found, *given, strict=True):
        size, flat = int(region.sum()), region.ravel()
        if not size or not own.any():
            assert np.isnan(value)
            continue
        hits = []
        for _ in range(300):
            shuffled = random.permutation(own.size)
            order = shuffled[np.argsort(-own.ravel()[shuffled], kind="stable")]
            hits.append(flat[order[:size]].mean())
        spread = np.std(hits) / np.sqrt(len(hits))
        assert abs(value - np.mean(hits)) <= 6 * spread + 1e-9


@given(maps_and_regions())
def test_without_ties_largest_inside_is_the_precision_of_the_region_s_size(
    given: tuple[np.ndarray, np.ndarray],
) -> None:
    maps, regions = given
    maps = np.argsort(np.argsort(maps.reshape(len(maps), -1), 1), 1).reshape(maps.shape) + 1.0
    found = largest_inside(torch.from_numpy(maps), torch.from_numpy(regions)).numpy()
    for value, own, region in zip(found, maps, regions, strict=True):
        size = int(region.sum())
        kept = set(np.argsort(-own.ravel())[:size].tolist())
        expected = len(kept & set(np.flatnonzero(region).tolist())) / size if size else np.nan
        np.testing.assert_allclose(value, expected, rtol=1e-9)


@given(maps_and_regions())
def test_points_inside_looks_where_the_largest_value_is(
    given: tuple[np.ndarray, np.ndarray],
) -> None:
    found = points_inside(*map(torch.from_numpy, given)).numpy()
    for value, own, region in zip(found, *given, strict=True):
        expected = region[own == own.max()].mean() if own.any() else np.nan
        np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_by_hand() -> None:
    maps = torch.tensor([[[1.0, 3.0], [0.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]])
    region = torch.tensor([[True, False], [False, True]])
    regions = torch.stack([region, ~region])
    assert energy_inside(maps, regions).tolist() == [5 / 8, 0.5]
    assert largest_inside(maps, regions).tolist() == [0.5, 0.5]
    assert points_inside(maps, regions).tolist() == [1, 0.5]


def test_an_empty_map_points_nowhere() -> None:
    empty, everywhere = torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    for metric in (energy_inside, largest_inside, points_inside):
        assert metric(empty, everywhere).isnan().all()


def test_maps_and_regions_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match="need regions of the same shape"):
        energy_inside(torch.ones(1, 2, 2), torch.ones(1, 2, 3, dtype=torch.bool))


@given(st.integers(1, 3), st.integers(0, 10**6))
def test_box_regions_are_slices(n_axes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 8, n_axes).tolist())
    first = random.integers(-3, 8, (5, n_axes))
    last = first + random.integers(0, 8, (5, n_axes))
    found = box_regions(torch.from_numpy(np.stack([first, last], 1)), shape).numpy()
    for mask, low, high in zip(found, first, last, strict=True):
        expected = np.zeros(shape, bool)
        expected[tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))] = True
        np.testing.assert_array_equal(mask, expected)


def test_the_rim_of_a_disc_is_its_outer_fifth() -> None:
    y, x = np.mgrid[-30:31, -30:31]
    radius = np.hypot(y, x)
    rim = rims(torch.from_numpy(radius < 25)[None])[0].numpy()
    assert rim[(radius < 24) & (radius > 21)].all()
    assert not rim[(radius < 19) | (radius >= 25)].any()


def test_the_rim_of_a_small_cell_is_a_pixel_deep() -> None:
    cell = torch.zeros(1, 5, 5, 5, dtype=torch.bool)
    cell[:, 1:4, 1:4, 1:4] = True
    assert int(rims(cell).sum()) == 26


def test_parts_of_cells_add_up_to_one() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    region = ((x / 15) ** 2 + (y / 6) ** 2 < 1)[None]
    maps = np.zeros((2, 41, 41), np.float32)
    maps[0, 20, 20], maps[0, 20, 34], maps[0, 0, 0] = 5, 3, 2
    parts = parts_of_cells(maps, np.repeat(region, 2, 0))
    np.testing.assert_allclose(parts[0], [0.5, 0.3, 0.2])
    assert np.isnan(parts[1]).all()
