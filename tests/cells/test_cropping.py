from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellcam import InputError
from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    crop_windows,
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


class TestPositions:
    def test_numbers_and_centres_by_hand(self) -> None:
        labels = np.zeros((6, 9), np.int32)
        labels[1:3, 4:8], labels[5, 0] = 7, 2
        cells = CellPositions.of(labels)
        assert cells.numbers.tolist() == [2, 7]
        assert cells.centres.tolist() == [[5, 0], [1.5, 5.5]]
        assert cells.shape == (6, 9)
        assert len(cells) == 2
        assert cells[1:].numbers.tolist() == [7]
        assert cells[np.array([True, False])].centres.tolist() == [[5, 0]]
        assert cells[:1].shape == (6, 9)

    def test_an_image_without_cells_or_pixels_has_none(self) -> None:
        for shape in ((4, 5), (0, 5), (2, 3, 4)):
            assert len(CellPositions.of(np.zeros(shape, np.int32))) == 0
            assert CellPositions.of(np.zeros(shape, np.int32)).centres.shape == (0, len(shape))

    def test_a_part_gives_the_places_on_the_whole_field(self) -> None:
        labels = np.zeros((20, 30), np.int32)
        labels[11:14, 17:24] = 3
        part = Part((10, 15), (16, 26), (20, 30))
        inside = CellPositions.of(labels[part.slices], part)
        assert inside.centres.tolist() == CellPositions.of(labels).centres.tolist() == [[12, 20]]
        assert inside.shape == (20, 30)

    def test_places_follow_the_pixel_size(self) -> None:
        cells = CellPositions(np.array([1], np.int32), np.array([[3.5, 9.5]]), (8, 20))
        assert cells.at_scale((16, 10)).centres.tolist() == [[7.5, 4.5]]
        assert cells.at_scale((16, 10)).shape == (16, 10)


@pytest.mark.parametrize(
    ("stated", "wanted", "shape"),
    [
        ((0.5, 0.25), (0.505, 0.2525), (100, 200)),  # 1 % apart: equal
        ((0.5, 0.25), (0.51, 0.25), (98, 200)),
        ((0.5, 0.25), (0.25, 0.5), (200, 100)),
        ((0.3029, 0.25), (0.3, 0.25), (100, 200)),
        ((0.307, 0.25), (0.3, 0.25), (102, 200)),
        ((0.5, 0.25), (9.0, 0.25), (6, 200)),
        ((0.5, 0.25), (1.01, 0.25), (50, 200)),
        ((0.5, 0.25), (0.99, 0.25), (51, 200)),
    ],
)
def test_the_shape_at_another_pixel_size(
    stated: tuple[float, ...], wanted: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    stack = Stack.from_array(np.zeros((100, 200)), "YX", pixel_size_um=PixelSize(None, *stated))
    assert shape_at_pixel_size(stack, (100, 200), wanted) == shape


def test_one_unknown_edge_is_refused() -> None:
    stack = Stack.from_array(np.zeros((10, 20)), "YX", pixel_size_um=PixelSize(None, 0.5, None))
    with pytest.raises(InputError, match="is unknown"):
        shape_at_pixel_size(stack, (10, 20), (0.5, 0.5))


def test_resizing_to_the_same_shape_changes_no_value() -> None:
    field = np.arange(48, dtype=np.uint16).reshape(1, 6, 8)
    same = resized(field, (6, 8))
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, field)
    labels = field[0].astype(np.int32)
    assert resized(labels, (6, 8), labels=True).dtype == np.int32
    np.testing.assert_array_equal(resized(labels, (6, 8), labels=True), labels)
    part = Part((1, 2), (5, 7), (6, 8))
    wanted = Part((2, 3), (4, 6), (6, 8))
    inner = resized(labels[part.slices], (6, 8), labels=True, own=part, wanted=wanted)
    np.testing.assert_array_equal(inner, labels[wanted.slices])


@pytest.mark.parametrize(
    ("centre", "size", "start"),
    [(10.0, 4, 9), (10.5, 4, 9), (10.4, 4, 9), (10.0, 5, 8), (10.5, 5, 9), (0.0, 6, -2)],
)
def test_windows_by_hand(centre: float, size: int, start: int) -> None:
    cells = CellPositions(np.array([1], np.int32), np.array([[centre, centre]]), (20, 20))
    assert crop_windows(cells, (size, size)).tolist() == [[start, start]]


def test_crops_are_mirrored_at_the_edge_and_their_own_size() -> None:
    field = np.arange(30, dtype=np.uint16).reshape(1, 5, 6)
    cells = CellPositions(np.array([1, 2], np.int32), np.array([[0.0, 0.0], [4.0, 5.0]]), (5, 6))
    crops = crop_cells(field, cells, (4, 2))
    padded = np.pad(field[0], 4, mode="symmetric")
    np.testing.assert_array_equal(crops[0, 0], padded[3:7, 4:6])
    np.testing.assert_array_equal(crops[1, 0], padded[7:11, 9:11])
    assert crops.dtype == np.uint16
    assert crop_cells(field, cells[:0], (4, 2)).shape == (0, 1, 4, 2)


def test_crops_of_a_part_are_those_of_the_whole() -> None:
    field = np.random.default_rng(0).integers(0, 99, (2, 40, 50))
    cells = CellPositions(np.array([1], np.int32), np.array([[20.0, 30.0]]), (40, 50))
    part = Part((10, 20), (30, 42), (40, 50))
    cut = crop_cells(field[:, 10:30, 20:42], cells, (8, 6), part)
    np.testing.assert_array_equal(cut, crop_cells(field, cells, (8, 6)))


@pytest.mark.parametrize(
    ("centre", "outside"),
    [
        ((1.0, 10.0), False),  # rows 0 to 3
        ((0.9, 10.0), True),
        ((17.0, 10.0), False),  # rows 16 to 19
        ((18.0, 10.0), True),
        ((10.0, 0.0), True),
        ((10.0, 27.0), False),
        ((10.0, 28.0), True),
    ],
)
def test_which_crops_reach_over_the_edge(centre: tuple[float, float], outside: bool) -> None:
    cells = CellPositions(np.array([1], np.int32), np.array([centre]), (20, 30))
    assert reaches_outside(cells, (4, 4)).tolist() == [outside]


def test_a_map_is_pasted_within_the_field_and_where_its_part_lies() -> None:
    labels = np.zeros((6, 7), np.int32)
    labels[0, 0] = 4
    cells = CellPositions.of(labels)
    maps = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) + 1
    canvas = np.zeros((1, 6, 7), np.float32)
    paste_maps(canvas, maps, np.zeros((1, 1), int), cells, np.full((6, 7), 4, np.int32))
    expected = np.zeros((6, 7), np.float32)
    expected[:3, :3] = maps[0, 0, 1:, 1:]  # the window begins at (-1, -1)
    np.testing.assert_array_equal(canvas[0], expected)
    part = Part((0, 0), (4, 5), (6, 7))
    shifted = CellPositions(cells.numbers, cells.centres + 1, (6, 7))
    canvas = np.zeros((1, 4, 5), np.float32)
    inner = Part((1, 1), (5, 6), (6, 7))
    paste_maps(canvas, maps, np.zeros((1, 1), int), shifted, np.full((4, 5), 4, np.int32), inner)
    np.testing.assert_array_equal(canvas[0, :3, :3], maps[0, 0, 1:, 1:])
    assert part.shape == canvas.shape[1:]


@pytest.mark.parametrize("labels", [False, True])
def test_a_part_without_a_border_is_never_extrapolated(labels: bool) -> None:
    """At its edges the last pixel is repeated."""
    field = np.add.outer(np.arange(20), 10 * np.arange(20)).astype(np.int32)
    own = Part((5, 5), (15, 15), (20, 20))
    wanted = own.at_scale((61, 61))
    part = resized(field[own.slices], (61, 61), labels=labels, own=own, wanted=wanted)
    assert part.shape == wanted.shape
    assert part.min() == field[own.slices].min()
    assert part.max() == field[own.slices].max()


@pytest.mark.parametrize("labels", [False, True])
def test_an_axis_of_one_pixel_is_repeated(labels: bool) -> None:
    field = np.arange(8, dtype=np.int32)[None]
    for shape in ((1, 8), (3, 8), (4, 8)):
        same = resized(field, shape, labels=labels)
        np.testing.assert_array_equal(same, np.repeat(field, shape[0], 0))


def test_a_crop_over_one_edge_alone_is_mirrored_there() -> None:
    field = np.arange(80).reshape(1, 8, 10)
    crops = crop_cells(field, positions([(4, 9)], (8, 10)), (2, 4))
    np.testing.assert_array_equal(crops[0, 0], field[0, 4:6][:, [8, 9, 9, 8]])


def test_pixels_belong_to_the_nearest_cell_as_far_as_the_longer_edge_of_a_crop() -> None:
    labels = np.zeros((3, 40), np.int32)
    labels[1, 5] = 7
    owner = nearest_cells(labels, (4, 12))
    assert owner[1, 17] == 7
    assert owner[1, 18] == 0
