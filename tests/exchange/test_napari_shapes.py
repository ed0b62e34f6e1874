"""Shapes that napari saved, and shapes that napari reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari_builtins.io import napari_write_shapes
from support.many_cells import cells_of, many_cells

from cellcam import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, ImageFacts
from cellcam.exchange.napari_shapes import read_shapes, write_shapes
from cellcam.exchange.spans import spans_of

SQUARE = np.array([[1.5, 2.5], [1.5, 5.5], [3.5, 5.5], [3.5, 2.5]])  # y, x


def painted(cells: Cells, shape: tuple[int, int]) -> np.ndarray:
    return spans_of(cells.outlines, cells.numbers, shape).paint(0, shape[0], 0, shape[1])


def saved(path: Path, shapes: list[np.ndarray], kinds: list[str]) -> Cells:
    """As napari's own writer saves a layer."""
    napari_write_shapes(str(path), shapes, {"metadata": {"shape_type": kinds}, "shape_type": kinds})
    return read_shapes(path)


def test_corners_are_from_the_centre_of_the_first_pixel(tmp_path: Path) -> None:
    found = saved(tmp_path / "a.csv", [SQUARE, SQUARE + 3], ["polygon", "rectangle"])
    assert found.outlines[0][0][0].tolist() == [[3, 2], [6, 2], [6, 4], [3, 4]]
    expected = np.zeros((8, 10), int)
    expected[2:4, 3:6], expected[5:7, 6:9] = 1, 2
    np.testing.assert_array_equal(painted(found, (8, 10)), expected)
    assert found.planes.tolist() == [[NOT_STATED] * 2] * 2


def test_ellipses_and_lines(tmp_path: Path) -> None:
    box = np.array([[10, 10], [10, 50], [30, 50], [30, 10]], float)
    found = saved(tmp_path / "a.csv", [box, box[:2]], ["ellipse", "line"])
    pixels = spans_of(found.outlines, found.numbers, (60, 60)).n_pixels
    assert pixels.tolist() == pytest.approx([np.pi * 200], rel=0.02)
    assert "1 shapes that are lines" in found.notes[0]


@pytest.mark.parametrize(("before", "plane"), [([4], [NOT_STATED, 4]), ([2, 4], [2, 4])])
def test_axes_before_y_and_x(tmp_path: Path, before: list[int], plane: list[int]) -> None:
    corners = np.column_stack([np.full((4, len(before)), before), SQUARE])
    assert saved(tmp_path / "a.csv", [corners], ["polygon"]).planes.tolist() == [plane]


def test_cells_without_holes_come_back(tmp_path: Path) -> None:
    labels = many_cells(200)
    cells = cells_of(labels)
    whole = [all(len(polygon) == 1 for polygon in one) and len(one) == 1 for one in cells.outlines]
    kept = [i for i, is_whole in enumerate(whole) if is_whole]
    some = replace(
        cells,
        ids=tuple(cells.ids[i] for i in kept),
        numbers=np.arange(1, len(kept) + 1),
        planes=np.array([[2, 1]] * len(kept)),
        outlines=tuple(cells.outlines[i] for i in kept),
        image=ImageFacts(n_times=3, n_planes=2),
    )
    write_shapes(some, tmp_path / "a.csv")
    back = read_shapes(tmp_path / "a.csv")
    assert back.planes.tolist() == some.planes.tolist()
    shape = (labels.shape[0], labels.shape[1])
    np.testing.assert_array_equal(painted(back, shape), painted(some, shape))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "without outlines"),
        ("x,y,cls\n1,2,a\n", "without outlines.*cellcam train"),
        ("index,axis-0,axis-1\n0,1,2\n", "without outlines"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n0,line,0,1,2\n", "no polygon"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1,2\n", "three finite"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,a,2\n", "cannot be read"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1\n", "cannot be read"),
        ("\0\n", "without outlines|no table"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_shapes(tmp_path / "a.csv")
