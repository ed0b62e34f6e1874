from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellcam import InputError
from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    nearest_cells,
    paste_maps,
    reaches_outside,
    resized,
    shape_at_pixel_size,
)
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import PixelSize, Stack


def positions(centres: list[tuple[float, ...]], shape: tuple[int, ...]) -> CellPositions:
    return CellPositions(
        np.arange(1, len(centres) + 1, dtype=np.int32), np.array(centres, float), shape
    )


def test_a_crop_is_centred_on_its_cell() -> None:
    field = np.arange(2 * 9 * 9).reshape(2, 9, 9)
    crops = crop_cells(field, positions([(4, 5)], (9, 9)), (3, 5))
    np.testing.assert_array_equal(crops[0], field[:, 3:6, 3:8])


def test_beyond_the_edge_the_field_is_mirrored() -> None:
    field = np.arange(25).reshape(1, 5, 5)
    crop = crop_cells(field, positions([(0, 2)], (5, 5)), (3, 3))[0, 0]
    np.testing.assert_array_equal(crop, field[0][[0, 0, 1]][:, 1:4])
    assert reaches_outside(positions([(0, 2), (2, 2)], (5, 5)), (3, 3)).tolist() == [True, False]


def test_positions_are_centroids_of_labels() -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 1:4] = 7
    labels[5, 6] = 2
    cells = CellPositions.of(labels)
    assert cells.numbers.tolist() == [2, 7]
    assert cells.centres.tolist() == [[5, 6], [1.5, 2]]


def test_positions_follow_the_field_to_another_scale() -> None:
    """The centre of a 2 x 2 block of pixels is the centre of one pixel at half the scale."""
    cells = positions([(2.5, 4.5)], (8, 8)).at_scale((4, 4))
    assert cells.centres.tolist() == [[1, 2]]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8), size=st.integers(2, 12))
@settings(max_examples=40)
def test_pasting_counts_nothing_twice(seed: int, n: int, size: int) -> None:
    """Maps of ones, however much they overlap, paste to at most one."""
    random = np.random.default_rng(seed)
    labels = np.zeros((20, 24), np.int32)
    for number in range(1, n + 1):
        labels[random.integers(20), random.integers(24)] = number
    cells = CellPositions.of(labels)
    canvas = np.zeros((1, 20, 24), np.float32)
    maps = np.ones((len(cells), 1, size, size), np.float32)
    owner = nearest_cells(labels, (size, size))
    paste_maps(canvas, maps, np.zeros((len(cells), 1), int), cells, owner)
    assert set(np.unique(canvas)) <= {0, 1}
    if size > 1:
        assert (canvas[0][labels > 0] == 1).all()


def test_touching_cells_keep_their_own_maps() -> None:
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 4, 0).astype(np.int32)
    cells = CellPositions.of(labels)
    maps = np.stack([np.full((1, 8, 8), 5.0), np.full((1, 8, 8), 9.0)]).astype(np.float32)
    canvas = np.zeros((2, 4, 6), np.float32)
    paste_maps(canvas, maps, np.array([[1], [1]]), cells, nearest_cells(labels, (8, 8)))
    np.testing.assert_array_equal(canvas[1], np.where(labels == 1, 5, 9))
    assert not canvas[0].any()


def test_pasting_is_the_inverse_of_cropping_in_3d() -> None:
    random = np.random.default_rng(0)
    field = random.random((1, 6, 20, 20)).astype(np.float32)
    labels = np.zeros((6, 20, 20), np.int32)
    labels[3, 10, 10] = 4
    cells = CellPositions.of(labels)
    crops = crop_cells(field, cells, (5, 9, 9))
    canvas = np.zeros_like(field)
    paste_maps(canvas, crops, np.zeros((1, 1), int), cells, nearest_cells(labels, (5, 9, 9)))
    pasted = canvas != 0
    assert pasted.sum() > 0.5 * 5 * 9 * 9  # the ball of pixels nearer than the crop's longest edge
    np.testing.assert_array_equal(canvas[pasted], field[pasted])


def test_resizing_keeps_mean_intensity() -> None:
    field = np.random.default_rng(0).integers(0, 4000, (2, 64, 64)).astype(np.uint16)
    half = resized(field, (32, 32))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.mean((1, 2)), field.mean((1, 2)), rtol=0.01)


def test_resizing_labels_invents_none() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[5:15, 5:15], labels[15:25, 15:25] = 3, 70_000
    assert set(np.unique(resized(labels, (47, 41), labels=True))) == {0, 3, 70_000}


def test_a_wanted_scale_needs_a_known_pixel_size() -> None:
    known = Stack.from_array(np.zeros((10, 20)), "YX", pixel_size_um=PixelSize(None, 0.5, 0.25))
    assert shape_at_pixel_size(known, (10, 20), (1.0, 0.25)) == (5, 20)
    assert shape_at_pixel_size(known, (10, 20), None) == (10, 20)
    unknown = Stack.from_array(np.zeros((10, 20)), "YX")
    with pytest.raises(InputError, match="--pixel-size"):
        shape_at_pixel_size(unknown, (10, 20), (1.0, 0.25))


@pytest.mark.parametrize(
    ("shape", "new"),
    [
        ((101, 77), (60, 50)),
        ((60, 50), (101, 77)),
        ((64, 64), (64, 100)),
        ((9, 30, 41), (12, 9, 41)),
    ],
)
def test_resizing_is_that_of_scikit_image(shape: tuple[int, ...], new: tuple[int, ...]) -> None:
    from skimage.transform import resize

    random = np.random.default_rng(0)
    field, labels = random.random(shape).astype(np.float32), random.integers(0, 9, shape)
    smaller = any(n < old for n, old in zip(new, shape, strict=True))
    expected = resize(field, new, order=1, mode="reflect", anti_aliasing=smaller)
    np.testing.assert_allclose(resized(field, new), expected, atol=1e-6)
    nearest = resize(labels, new, order=0, preserve_range=True, anti_aliasing=False)
    np.testing.assert_array_equal(resized(labels, new, labels=True), nearest)


def test_a_part_is_resized_like_the_whole() -> None:
    field = np.random.default_rng(0).random((300, 280)).astype(np.float32)
    new = (195, 183)
    read, wanted = Part((60, 70), (220, 210), (300, 280)), Part((50, 55), (130, 120), new)
    part = resized(field[read.slices], new, own=read, wanted=wanted)
    np.testing.assert_array_equal(part, resized(field, new)[wanted.slices])
