"""Outlines of all cells as lines in pixels, for the 3-D view. No Qt here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellcam.progress import Progress

_MARGIN = 3  # pixels between a cell and the box around it
_FINEST = 0.5  # pixels that a line may lie beside the outline
# Lines that are drawn at most: software OpenGL draws a frame of so many in a tenth of a second.
_MOST_LINES = 60_000

Ring = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellOutlines:
    """Lines around the cells of a label image with axes (..., Y, X), plane by plane.

    Attributes
    ----------
    lines : (M, 2, ndim) first point of each line, and the vector to its end, in pixels
    numbers : (M,) cell of each line
    """

    lines: NDArray[np.float32]
    numbers: NDArray[np.int32]

    def marked(self, number: int, others: Sequence[int] = ()) -> CellOutlines:
        """The outline of one cell, and the edges of a box around it and the same cell elsewhere.

        Parameters
        ----------
        others : numbers of the same cell on other planes
        """
        own = self.lines[self.numbers == number]
        boxed = self.lines[np.isin(self.numbers, [number, *others])]
        lines = np.concatenate([own, _box(boxed[:, 0])]) if len(boxed) else own
        return CellOutlines(lines, np.full(len(lines), number, np.int32))


def outline_cells(cells_image: NDArray[np.int32], progress: Progress) -> CellOutlines:
    """Outline all cells; the more cells there are, the coarser.

    Parameters
    ----------
    cells_image : (..., Y, X) label image
    progress : called with (planes done, planes in all)
    """
    from skimage.measure import approximate_polygon

    planes = list(np.ndindex(cells_image.shape[:-2]))
    rings: list[tuple[int, tuple[int, ...], Ring]] = []
    for done, plane in enumerate(planes):
        progress(done, len(planes))
        rings += [(number, plane, ring) for number, ring in _rings(cells_image[plane])]
    tolerance = _FINEST
    while True:
        simple = [approximate_polygon(ring, tolerance) for _, _, ring in rings]
        if sum(map(len, simple)) <= _MOST_LINES or tolerance > max(cells_image.shape[-2:]):
            break
        tolerance *= 2
    progress(len(planes), len(planes))
    parts = [_lines(plane, ring) for (_, plane, _), ring in zip(rings, simple, strict=True)]
    numbers = [number for number, _, _ in rings]
    return CellOutlines(
        np.concatenate([np.zeros((0, 2, cells_image.ndim), np.float32), *parts]),
        np.repeat(np.array(numbers, np.int32), [len(part) for part in parts]),
    )


def _box(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Edges (n, 2, ndim) of a box around points (m, ndim), with a margin along y and x."""
    ndim = points.shape[1]
    margin = np.array([0.0] * (ndim - 2) + [_MARGIN] * 2, np.float32)
    first, last = points.min(0) - margin, points.max(0) + margin
    edges = []
    for axis in np.flatnonzero(last > first):
        along = np.where(np.arange(ndim) == axis, last - first, 0)
        across = [
            (a,) if i == axis else {a, b} for i, (a, b) in enumerate(zip(first, last, strict=True))
        ]
        edges += [(corner, along) for corner in product(*across)]
    return np.array(edges, np.float32).reshape(-1, 2, ndim)


def _rings(plane: NDArray[np.int32]) -> Iterator[tuple[int, Ring]]:
    """Number of each cell of a plane, and its outlines: closed (n, 2) rings in pixels."""
    from scipy.ndimage import find_objects
    from skimage.measure import find_contours

    for i, box in enumerate(find_objects(plane)):
        if box is not None:
            mask = np.pad(plane[box] == i + 1, 1)
            corner = np.array([s.start - 1 for s in box])
            for ring in find_contours(mask, 0.5):
                yield i + 1, ring + corner


def _lines(plane: tuple[int, ...], ring: Ring) -> NDArray[np.float32]:
    """A ring on a plane as lines (n, 2, ndim)."""
    n_leading = len(plane)
    lines = np.zeros((len(ring) - 1, 2, n_leading + 2), np.float32)
    lines[:, 0, :n_leading] = plane
    lines[:, 0, n_leading:] = ring[:-1]
    lines[:, 1, n_leading:] = np.diff(ring, axis=0)
    return lines
