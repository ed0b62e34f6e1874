"""Heat maps of a plate: the number of cells in each well, and the part of each class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.html_page import figure_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows and columns of plates of 6 to 1536 wells.
_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
_PLACE = re.compile(r"([A-Z]{1,2})(\d{2})")
_PER_ROW = 3


def plate_maps(values: Mapping[str, Mapping[str, float]]) -> str:
    """SVG element with a heat map of each quantity; empty where wells have no row and column.

    Parameters
    ----------
    values : of each quantity, the value of each well such as ``B03``; other wells are grey
    """
    from matplotlib.figure import Figure

    places = {place: _row_column(place) for wells in values.values() for place in wells}
    known = {place: at for place, at in places.items() if at is not None}
    if not known:
        return ""
    shape = _plate_shape(list(known.values()))
    n_rows = -(-len(values) // _PER_ROW)
    figure = Figure(figsize=(10, 2.4 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, _PER_ROW, squeeze=False).ravel()
    for ax, (name, wells) in zip(axes, values.items(), strict=False):
        grid = np.full(shape, np.nan)
        for place, value in wells.items():
            if place in known:
                grid[known[place]] = value
        _draw(ax, name, grid)
    for ax in axes[len(values) :]:
        ax.remove()
    return figure_svg(figure)


def _draw(ax: Axes, name: str, grid: NDArray[np.float64]) -> None:
    n_rows, n_columns = grid.shape
    ax.set_facecolor("#dddddd")
    image = ax.imshow(grid, cmap="viridis", aspect="equal", vmin=0)
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    step = 1 if n_columns <= 12 else 3 if n_columns <= 24 else 6
    ax.set_xticks(range(0, n_columns, step), [str(1 + i) for i in range(0, n_columns, step)])
    ax.set_yticks(range(0, n_rows, step), [_letters(i) for i in range(0, n_rows, step)])
    ax.tick_params(length=0, labelsize=7)
    ax.set_title(name, fontsize=9)


def _row_column(place: str) -> tuple[int, int] | None:
    """Row and column of a well, from 0."""
    match = _PLACE.fullmatch(place)
    if match is None or int(match[2]) == 0:
        return None
    row = 0
    for letter in match[1]:
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def _plate_shape(places: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The smallest plate that has these wells."""
    rows, columns = (1 + max(place[axis] for place in places) for axis in (0, 1))
    fitting = (form for form in _FORMATS if rows <= form[0] and columns <= form[1])
    return next(fitting, (rows, columns))


def _letters(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)
