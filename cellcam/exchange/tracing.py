"""From label images to outlines that run along the edges of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.numbering import compacted
from cellcam.exchange.cells import Outline, Ring
from cellcam.exchange.polygons import polygons_of_rings


class _Corners(NamedTuple):
    """Corners of outlines, (K,) each. Two edges meet at each, a horizontal and a vertical one.

    Attributes
    ----------
    cell : number of the cell, counted from 1
    right, down : whether the edges go to the right, and down, from the corner
    horizontal_next : whether the horizontal edge leaves the corner, with the cell on its right
    touches : whether another corner of the same cell can be at the same place
    """

    cell: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    right: NDArray[np.bool_]
    down: NDArray[np.bool_]
    horizontal_next: NDArray[np.bool_]
    touches: NDArray[np.bool_]


def outlines_of(labels: NDArray[np.integer]) -> dict[int, Outline]:
    """Outline of every cell of a label image, by its label.

    Outlines run along the edges of pixels, so that `cellcam.exchange.spans` gives back the same
    label image. Pixels that touch at a corner only belong to different polygons; rings touch at
    most in points, as the simple-features standard allows.

    Parameters
    ----------
    labels : (Y, X), 0 for background

    Returns
    -------
    polygons of each label, their rings int64 (K, 2) x, y; outer rings have a positive area by the
    shoelace formula, holes a negative one
    """
    numbers, compact = compacted(labels)
    corners = _corners(compact)
    if not len(corners.cell):
        return {}
    path, ends = _paths(corners)
    points = np.column_stack([corners.x, corners.y])[path]
    touching = np.add.reduceat(corners.touches[path], ends[:-1]) > 1
    cells = corners.cell[path[ends[:-1]]].tolist()
    by_cell: dict[int, list[Ring]] = {}
    for i, cell in enumerate(cells):
        ring = points[ends[i] : ends[i + 1]]
        by_cell.setdefault(cell, []).extend(_split(ring) if touching[i] else [ring])
    return {int(numbers[cell - 1]): polygons_of_rings(by_cell[cell]) for cell in sorted(by_cell)}


def _corners(compact: NDArray[np.int32]) -> _Corners:
    """Corners of all outlines, found pixel by pixel."""
    padded = np.pad(compact, 1)
    inside = compact > 0
    parts = [
        _corners_at(padded, inside, compact, down, right) for down in (0, 1) for right in (0, 1)
    ]
    return _Corners(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _corners_at(
    padded: NDArray[np.int32],
    inside: NDArray[np.bool_],
    compact: NDArray[np.int32],
    down: int,
    right: int,
) -> _Corners:
    """Corners of outlines at one of the four corners of each pixel."""
    height, width = compact.shape

    def same(dy: int, dx: int) -> NDArray[np.bool_]:
        neighbour = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        return np.asarray(neighbour == compact)

    dy, dx = 2 * down - 1, 2 * right - 1
    beside, above, diagonal = same(0, dx), same(dy, 0), same(dy, dx)
    convex = inside & ~beside & ~above
    concave = inside & beside & above & ~diagonal
    y, x = np.nonzero(convex | concave)
    is_concave = concave[y, x]
    # The edges run along this pixel, or along the neighbour that the cell lacks.
    to_right = (right == 0) ^ is_concave
    to_down = (down == 0) ^ is_concave
    # The cell is below the horizontal edge of a pixel's upper corner.
    cell_below = down == 0
    return _Corners(
        compact[y, x].astype(np.int64),
        y + down,
        x + right,
        to_right,
        to_down,
        to_right == cell_below,
        diagonal[y, x] & ~is_concave,
    )


def _paths(corners: _Corners) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All corners, ring by ring, in the order of the rings; and where each ring begins and ends."""
    beside = _partners(corners.cell, corners.y, corners.x, corners.right)
    above = _partners(corners.cell, corners.x, corners.y, corners.down)
    # Horizontal edges follow vertical ones: two steps at a time.
    following = above[beside].tolist()
    pending = corners.horizontal_next.tolist()
    path: list[int] = []
    ends = [0]
    for start in np.flatnonzero(corners.horizontal_next).tolist():
        here = start
        while pending[here]:
            pending[here] = False
            path.append(here)
            here = following[here]
        if len(path) > ends[-1]:
            ends.append(len(path))
    begins = np.array(path)
    return np.column_stack([begins, beside[begins]]).ravel(), 2 * np.array(ends)


def _partners(
    cell: NDArray[np.int64],
    line: NDArray[np.int64],
    place: NDArray[np.int64],
    forward: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The corner at the other end of each corner's edge on a line.

    Along a line, corners are alternately the first and the last of an edge.
    """
    n_places = int(place.max()) + 1
    n_lines = int(line.max()) + 1
    order = np.argsort(((cell * n_lines + line) * n_places + place) * 2 + forward, kind="stable")
    partners = np.empty(len(cell), np.int64)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


def _split(ring: Ring) -> Iterator[Ring]:
    """Rings that meet no point twice, of a ring that may."""
    path: list[int] = []
    seen: dict[tuple[int, int], int] = {}
    places = list(map(tuple, ring.tolist()))
    for corner, place in enumerate(places):
        if place in seen:
            loop = path[seen[place] :]
            yield ring[loop]
            for left in loop:
                del seen[places[left]]
            del path[len(path) - len(loop) :]
        seen[place] = len(path)
        path.append(corner)
    yield ring[path]
