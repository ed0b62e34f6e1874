"""Cells of a stack whose planes are fields of their own: which of them are the same cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import Labels
from cellcam.cells.linking import link_planes
from cellcam.pipeline.matching import FieldPlace

# Column of the cell table: the same number is the same cell on several planes.
CELL_3D = "cell_3d"


def are_single_planes(places: Sequence[FieldPlace]) -> bool:
    """Whether these are fields of a stack of which each plane is one."""
    return len({place.z for place in places}) > 1


def number_cells_3d(
    places: Sequence[FieldPlace],
    labels: Sequence[Labels],
    cells: Sequence[NDArray[np.integer]],
) -> NDArray[np.int32]:
    """Number of the same cell over planes, for the cells of all fields, one field after another.

    Time points are linked each by itself, see `link_planes`; the numbers go on.

    Parameters
    ----------
    places : of the fields, time point by time point, plane by plane
    labels : label image (Y, X) of each field
    cells : labels of each field's cells
    """
    numbers: list[int] = []
    before = 0
    for t in sorted({place.t for place in places}):
        fields = [i for i, place in enumerate(places) if place.t == t]
        linked = link_planes([labels[i] for i in fields])
        for i, number in zip(fields, linked, strict=True):
            numbers += [before + number[int(label)] for label in cells[i]]
        before += max((max(number.values(), default=0) for number in linked), default=0)
    return np.array(numbers, np.int32)
