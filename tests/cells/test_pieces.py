from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from cellcam.cells.numbering import by_label, compacted
from cellcam.cells.pieces import pieces_of

LABELS = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=3, max_side=12), elements=st.integers(0, 4)
)
LARGE = st.sampled_from([0, 1, 7, 2**31 - 1, 2**30])


@given(arrays(np.int32, array_shapes(min_dims=1, max_dims=3), elements=LARGE))
def test_any_labels_are_numbered_in_their_order(labels: np.ndarray) -> None:
    numbers, compact = compacted(labels)
    assert numbers.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    np.testing.assert_array_equal(np.append(0, numbers)[compact], labels)
    values = numbers.astype(np.int64) * 2
    np.testing.assert_array_equal(by_label(labels, numbers, values), 2 * labels.astype(np.int64))


def test_labels_that_are_not_in_the_image_are_ignored() -> None:
    labels = np.array([[0, 5, 9]])
    assert by_label(labels, np.array([4, 9]), np.array([1, 2])).tolist() == [[0, 0, 2]]


@given(LABELS, st.integers(1, 5))
def test_pieces_are_those_of_scipy_however_the_image_is_cut(labels: np.ndarray, rows: int) -> None:
    expected = []
    for number in set(labels.ravel().tolist()) - {0}:
        parts, _ = ndimage.label(labels == number, np.ones((3,) * labels.ndim))
        for i, box in enumerate(ndimage.find_objects(parts)):
            corners = [(s.start, s.stop) for s in box]
            expected.append((number, *corners, int((parts == i + 1).sum())))
    tops = range(0, labels.shape[-2], rows)
    pieces = pieces_of(labels[..., top : top + rows, :] for top in tops)
    found = [
        (int(n), *zip(a.tolist(), b.tolist(), strict=True), int(area))
        for n, a, b, area in zip(pieces.number, pieces.start, pieces.stop, pieces.area, strict=True)
    ]
    assert sorted(found) == sorted(expected)


def drawn(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    labels = np.zeros((60, 60), np.int32)
    for top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = 3
    return labels


@pytest.mark.fault("one number on two distant cells", "no call, and a flag that says why")
@pytest.mark.parametrize(
    ("boxes", "is_distant"),
    [
        ([(5, 5, 10, 10)], False),
        ([(5, 5, 10, 10), (5, 40, 10, 10)], True),
        ([(5, 5, 10, 10), (5, 18, 10, 10)], False),  # halves of a dividing nucleus
        ([(5, 5, 4, 10), (17, 5, 4, 10)], False),  # two plates of chromosomes
        ([(5, 5, 10, 10), (16, 5, 1, 2)], False),  # a crumb beside the cell
        ([(5, 5, 10, 10), (58, 58, 1, 1)], True),  # a slip of the brush far away
        ([(5, 5, 10, 10), (15, 15, 4, 4)], False),  # one piece, over a corner
    ],
)
def test_pieces_are_distant_beyond_the_length_of_the_cell(
    boxes: list[tuple[int, int, int, int]], is_distant: bool
) -> None:
    pieces = pieces_of(iter([drawn(*boxes)]))
    assert pieces.distant().tolist() == ([3] if is_distant else [])


def test_spread_labels_do_not_count_for_the_largest_extent() -> None:
    labels = drawn((5, 5, 10, 10), (5, 40, 10, 10))
    labels[30:34, 20:37] = 8
    pieces = pieces_of(iter([labels]))
    assert pieces.largest_extent(pieces.distant()) == 17
    assert pieces_of(iter([np.zeros((4, 4), np.int32)])).largest_extent(np.array([])) == 0


@pytest.mark.fault("16 a million cells in a label image", "pieces and sizes of all of them")
def test_a_million_cells() -> None:
    y, x = np.mgrid[:2000, :2000]
    labels = (y // 2 * 1000 + x // 2 + 1).astype(np.int32) * ((y % 2 == 0) | (x % 2 == 0))
    pieces = pieces_of(iter(np.split(labels, 4)))
    assert len(np.unique(pieces.number)) == 1_000_000
    assert pieces.largest_extent(pieces.distant()) == 2
