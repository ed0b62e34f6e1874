"""From outlines to label images: the rows of pixels that each cell covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellcam.exchange.cells import Edges, Outline

_Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spans:
    """The pixels of the cells of one plane, as spans of rows.

    Where cells overlap, the pixels belong to the cell that is listed first.

    Attributes
    ----------
    row, first, stop : (K,) a span covers the pixels ``first`` to ``stop - 1`` of a row; ascending
        rows, and of a row first the spans of cells that are listed last
    number : (K,) label
    n_pixels : (N,) pixels of each cell before any were lost to another cell
    n_shared : pixels that lie in several cells, each counted once less than it is covered
    """

    row: _Ints
    first: _Ints
    stop: _Ints
    number: _Ints
    n_pixels: _Ints
    n_shared: int

    def paint(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.int32]:
        """Label image of a rectangle."""
        painted = np.zeros((bottom - top, right - left), np.int32)
        begin, end = np.searchsorted(self.row, [top, bottom])
        first = np.clip(self.first[begin:end], left, right)
        lengths = np.clip(self.stop[begin:end], left, right) - first
        starts = (self.row[begin:end] - top) * (right - left) + first - left
        painted.ravel()[_ranges(starts, lengths)] = np.repeat(self.number[begin:end], lengths)
        return painted


def spans_of(outlines: Sequence[Outline], numbers: _Ints, shape: tuple[int, int]) -> Spans:
    """Pixels whose centres lie in outlines, by the even-odd rule.

    Parameters
    ----------
    outlines : of N cells; what lies outside the image is cut off
    numbers : (N,) labels
    shape : (y, x) of the image
    """
    height, width = shape
    edges = Edges.of(outlines)
    rising = edges.start[:, 1] != edges.end[:, 1]
    start, end, cell = edges.start[rising], edges.end[rising], edges.cell[rising]
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    top = _first_centre(low, height)
    n_rows = _first_centre(high, height) - top
    edge = np.repeat(np.arange(len(cell)), n_rows)
    row = _ranges(top, n_rows)
    part = (row + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    crossing = start[edge, 0] + part * (end[edge, 0] - start[edge, 0])
    # The order of rounded crossings is that of the crossings; where two are equal, nothing lies
    # between them.
    column = _first_centre(crossing, width)
    keys = np.sort((cell[edge] * height + row) * (width + 1) + column)
    lines, columns = np.divmod(keys, width + 1)
    cells, rows = np.divmod(lines[0::2], height)
    first, stop = columns[0::2], columns[1::2]
    n_pixels = np.bincount(cells, stop - first, minlength=len(numbers)).astype(np.int64)
    order = np.lexsort((-cells, rows))
    shared = _shared(rows * (width + 1) + first, stop - first)
    return Spans(rows[order], first[order], stop[order], numbers[cells[order]], n_pixels, shared)


def _first_centre(place: NDArray[np.float64], length: int) -> _Ints:
    """First pixel of an axis whose centre is not before a place; ``length`` if there is none."""
    return np.clip(np.ceil(place - 0.5), 0, length).astype(np.int64)


def _ranges(starts: _Ints, lengths: _Ints) -> _Ints:
    """The numbers ``start, start + 1, ...`` of each range, one range after another."""
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def _shared(starts: _Ints, lengths: _Ints) -> int:
    """Pixels of spans that earlier spans of the same row cover already."""
    order = np.argsort(starts, kind="stable")
    begin, end = starts[order], (starts + lengths)[order]
    covered = np.maximum.accumulate(end)[:-1]
    return int(np.clip(np.minimum(covered, end[1:]) - begin[1:], 0, None).sum())
