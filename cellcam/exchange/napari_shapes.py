"""The CSV that napari saves of a shapes layer.

Its corners are in pixels from the centre of the first pixel, half a pixel less than in `Cells`.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, Outline, centres_of
from cellcam.stacks.writing import whole_file

_COLUMNS = ["index", "shape-type", "vertex-index"]
_AREAS = ("polygon", "rectangle", "ellipse")
_TABLES = (
    "{} is a table without outlines. As the cells of an image outlines are needed: a label image, "
    "GeoJSON, ROIs, or shapes saved from napari. A table of places with classes trains a model: "
    "cellcam train."
)


def read_shapes(path: Path) -> Cells:
    """Read polygons, rectangles and ellipses; a shape's index, counted from 1, is its label.

    Raises
    ------
    InputError
        If it is no table of shapes, or holds no area.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is no table that can be read: {error}.") from error
    axes = _axes(rows[0] if rows else {})
    if not rows or not {*_COLUMNS} <= set(rows[0]) or len(axes) < 2:
        raise InputError(_TABLES.format(path))
    try:
        kinds = {int(row["index"]): row["shape-type"] for row in rows}
        corners: dict[int, list[list[float]]] = {}
        for row in rows:
            place = [float(row[axis]) for axis in axes]
            corners.setdefault(int(row["index"]), []).append(place)
        shapes = {i: np.array(found) for i, found in corners.items() if kinds[i] in _AREAS}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: a corner cannot be read: {error}. Save the shapes again."
        ) from error
    if not shapes:
        raise InputError(f"{path} holds no polygon, rectangle or ellipse. Draw the cells as these.")
    wrong = [i for i, one in shapes.items() if len(one) < 3 or not np.isfinite(one).all()]
    if wrong:
        raise InputError(f"{path}: shape {wrong[0]} has no three finite corners.")
    outlines = [_outline(one[:, -2:], kinds[i]) for i, one in shapes.items()]
    planes = np.array([_plane(one[0, :-2]) for one in shapes.values()])
    left = len(kinds) - len(shapes)
    return Cells(
        ids=tuple(map(str, shapes)),
        numbers=np.array(list(shapes), np.int64) + 1,
        planes=planes,
        centres=centres_of(outlines),
        outlines=tuple(outlines),
        classes=("",) * len(shapes),
        notes=(f"{left} shapes that are lines were left out.",) if left else (),
    )


def write_shapes(cells: Cells, target: Path) -> None:
    """Write the outer outlines of cells as polygons, one for each part."""
    several = cells.image.n_times > 1, cells.image.n_planes > 1
    names = [*_COLUMNS, *(f"axis-{i}" for i in range(2 + sum(several)))]
    with (
        whole_file(target) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(names)
        number = 0
        for outline, plane in zip(cells.outlines, cells.planes.tolist(), strict=True):
            before = [max(n, 0) for n, is_long in zip(plane, several, strict=True) if is_long]
            for polygon in outline:
                for i, (x, y) in enumerate((polygon[0] - 0.5).tolist()):
                    table.writerow([number, "polygon", i, *before, y, x])
                number += 1


def _axes(row: dict[str, Any]) -> list[str]:
    found = [name for name in row if name and name.startswith("axis-")]
    return sorted(found, key=lambda name: (len(name), name))


def _plane(before: NDArray[np.float64]) -> tuple[int, int]:
    """Time point and plane; of one axis it is open which it is."""
    places = [round(place) for place in before.tolist()]
    if len(places) == 2:
        return places[0], places[1]
    return (NOT_STATED, places[0]) if places else (NOT_STATED, NOT_STATED)


def _outline(corners: NDArray[np.float64], kind: str) -> Outline:
    ring = corners[:, ::-1] + 0.5
    if kind == "ellipse":  # the corners of its box, which may be turned
        middle = ring.mean(axis=0)
        across, along = (ring[1] - ring[0]) / 2, (ring[2] - ring[1]) / 2
        angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)[:, None]
        ring = middle + np.cos(angles) * across + np.sin(angles) * along
    return [[ring]]
