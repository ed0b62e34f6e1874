"""Outlines along the edges of pixels, and the label images that they give back."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.many_cells import many_cells

from cellcam.exchange.cells import Outline, centres_of
from cellcam.exchange.polygons import signed_area
from cellcam.exchange.spans import spans_of
from cellcam.exchange.tracing import outlines_of

LABELS = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


def geometry(outline: Outline) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([shapely.Polygon(first, holes) for first, *holes in outline])


def painted(outlines: dict[int, Outline], shape: tuple[int, int]) -> np.ndarray:
    spans = spans_of(list(outlines.values()), np.array(list(outlines), np.int64), shape)
    assert spans.n_shared == 0
    return spans.paint(0, shape[0], 0, shape[1])


def rings(rows: list[str]) -> list[list[set[tuple[int, int]]]]:
    """Corners of the polygons' rings of one cell drawn with #."""
    labels = np.array([[pixel == "#" for pixel in row] for row in rows], np.uint8)
    return [[set(map(tuple, ring.tolist())) for ring in one] for one in outlines_of(labels)[1]]


class TestWorkedByHand:
    def test_a_pixel_is_a_square_of_its_corners(self) -> None:
        outline = outlines_of(np.array([[0, 0], [0, 9]]))[9]
        assert outline[0][0].tolist() == [[1, 1], [2, 1], [2, 2], [1, 2]]

    def test_corners_on_a_straight_edge_are_left_out(self) -> None:
        assert rings(["###", "#.."]) == [[{(0, 0), (3, 0), (3, 1), (1, 1), (1, 2), (0, 2)}]]

    def test_a_hole_is_the_second_ring(self) -> None:
        assert rings(["###", "#.#", "###"]) == [
            [{(0, 0), (3, 0), (3, 3), (0, 3)}, {(1, 1), (2, 1), (2, 2), (1, 2)}]
        ]

    def test_pixels_that_touch_at_a_corner_are_two_polygons(self) -> None:
        assert rings(["#.", ".#"]) == [
            [{(0, 0), (1, 0), (1, 1), (0, 1)}],
            [{(1, 1), (2, 1), (2, 2), (1, 2)}],
        ]

    def test_a_notch_that_meets_a_hole_at_a_corner_does_not_cross_the_ring(self) -> None:
        found = rings([".##", "#.#", "###"])
        assert found == [
            [
                {(1, 0), (3, 0), (3, 3), (0, 3), (0, 1), (1, 1)},
                {(1, 1), (2, 1), (2, 2), (1, 2)},
            ]
        ]

    def test_a_part_in_a_hole_is_a_polygon_and_each_hole_is_in_its_own(self) -> None:
        found = rings(["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"])
        assert [len(polygon) for polygon in found] == [2, 2]
        assert found[1][1] == {(3, 3), (4, 3), (4, 4), (3, 4)}


@given(LABELS)
def test_outlines_give_back_the_label_image_and_are_valid(labels: np.ndarray) -> None:
    outlines = outlines_of(labels)
    assert list(outlines) == [n for n in np.unique(labels) if n]
    np.testing.assert_array_equal(painted(outlines, labels.shape), labels)
    for number, outline in outlines.items():
        cell = geometry(outline)
        assert cell.is_valid, shapely.is_valid_reason(cell)
        assert cell.area == (labels == number).sum()
        assert all(signed_area(first) > 0 for first, *_ in outline)
        assert all(signed_area(hole) < 0 for _, *holes in outline for hole in holes)


@given(LABELS)
def test_outlines_cover_the_pixels_of_their_cell(labels: np.ndarray) -> None:
    y, x = np.indices(labels.shape) + 0.5
    for number, outline in outlines_of(labels).items():
        inside = shapely.contains_xy(geometry(outline), x, y)
        np.testing.assert_array_equal(inside, labels == number)


def test_centres_are_those_of_the_areas() -> None:
    outlines = list(outlines_of(many_cells(300)).values())
    expected = [geometry(outline).centroid for outline in outlines]
    found = centres_of(outlines)
    np.testing.assert_allclose(found, [(point.x, point.y) for point in expected], rtol=1e-9)


def test_a_centre_far_from_the_origin_is_exact() -> None:
    far = np.array([1e9, 2e9])
    square = np.array([[0, 0], [0, 3], [3, 3], [3, 0]])
    hole = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    # (9 * 1.5 - 1 * 0.5) / 8 = 1.625, whichever way round the rings run.
    for turned in (hole, hole[::-1]):
        centre = centres_of([[[square + far, turned + far]]])[0]
        np.testing.assert_allclose(centre - far, 1.625, atol=1e-6)


def test_an_image_without_cells_has_no_outline() -> None:
    assert outlines_of(np.zeros((3, 4), int)) == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64])
def test_any_numbers_are_kept(dtype: type) -> None:
    labels = np.array([[200, 0], [0, 3]], dtype)
    assert set(outlines_of(labels)) == {3, 200}
