"""Outlines of other programs, with any corners, as label images."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from cellcam.exchange.spans import spans_of

# Corners are not on the centres of pixels, where any rule is right.
PLACES = st.integers(-40, 160).map(lambda n: n / 10 + 0.013)
RING = st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=8)
SHAPE = (11, 13)


def painted(outlines: list, numbers: list[int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return spans_of(outlines, np.array(numbers), shape).paint(0, shape[0], 0, shape[1])


@given(RING)
def test_a_pixel_belongs_to_the_outline_that_holds_its_centre(ring: list) -> None:
    y, x = np.indices(SHAPE) + 0.5
    crossings, on_an_edge = np.zeros(SHAPE, int), np.zeros(SHAPE, bool)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        for row, column in np.ndindex(SHAPE):
            if (y0 > y[row, 0]) != (y1 > y[row, 0]):
                at = x0 + (y[row, 0] - y0) * (x1 - x0) / (y1 - y0)
                crossings[row, column] += at < x[row, column]
                on_an_edge[row, column] |= abs(at - x[row, column]) < 1e-9
    found = painted([[[np.array(ring)]]], [5])
    np.testing.assert_array_equal(found[~on_an_edge], 5 * (crossings % 2)[~on_an_edge])


def test_a_polygon_with_a_hole_agrees_with_shapely() -> None:
    outer = np.array([[0.2, 1.1], [12.4, 0.3], [10.1, 9.7], [1.9, 10.2]])
    hole = np.array([[4.1, 3.2], [8.3, 4.4], [5.2, 7.9]])
    y, x = np.indices(SHAPE) + 0.5
    expected = shapely.contains_xy(shapely.Polygon(outer, [hole]), x, y)
    np.testing.assert_array_equal(painted([[[outer, hole]]], [1]), expected)


def test_a_part_is_that_part_of_the_whole() -> None:
    outline = [[np.array([[-3.2, 1.1], [20.4, 0.3], [9.1, 30.7]])]]
    whole = painted([outline], [7])
    spans = spans_of([outline], np.array([7]), SHAPE)
    np.testing.assert_array_equal(spans.paint(2, 9, 3, 8), whole[2:9, 3:8])


def test_of_cells_that_overlap_the_first_has_the_pixels() -> None:
    squares = [[[np.array([[a, 0], [a + 4, 0], [a + 4, 2], [a, 2]])]] for a in (0, 3, 1)]
    spans = spans_of(squares, np.array([9, 4, 6]), (2, 8))
    assert spans.paint(0, 1, 0, 8).tolist() == [[9, 9, 9, 9, 4, 4, 4, 0]]
    assert spans.n_pixels.tolist() == [8, 8, 8]
    # Of 3 x 8 pixels 7 x 2 are covered: 10 are shared.
    assert spans.n_shared == 10


def test_cells_outside_or_between_centres_have_no_pixel() -> None:
    squares = [
        [[np.array([[x, y], [x + 0.4, y], [x + 0.4, y + 0.4], [x, y + 0.4]])]]
        for x, y in ((0.0, 0.0), (-5.0, 0.3), (2.3, 1.3), (1e12, 0.3))
    ]
    assert spans_of(squares, np.arange(1, 5), SHAPE).n_pixels.tolist() == [0, 0, 1, 0]
    assert spans_of([[]], np.array([1]), SHAPE).n_pixels.tolist() == [0]
