"""Label images of a cell table, read at the time point and the plane of each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions
from cellcam.cells.finder import FieldView, Labels
from cellcam.errors import InputError
from cellcam.exchange.labels import open_labels
from cellcam.stacks.stack import Stack, ZChoice

if TYPE_CHECKING:
    import pandas as pd

_MOST_LISTED = 10


def fields_of_rows(
    rows: pd.DataFrame, stack: Stack, field: str
) -> Iterator[tuple[NDArray[np.int64], int, ZChoice]]:
    """The rows of an image field by field.

    Parameters
    ----------
    rows : the cells of this image, see `CellTable`
    field : how a stack with several planes is reduced, see `CropSettings`

    Yields
    ------
    numbers (n,) within ``rows``, time point, and planes as `Stack.field` takes them
    """
    t = rows["t"].to_numpy(int) if "t" in rows else np.zeros(len(rows), int)
    by_plane = "z" in rows and field == "plane"
    z = rows["z"].to_numpy(int) if by_plane else np.zeros(len(rows), int)
    for time, plane in sorted(set(zip(t.tolist(), z.tolist(), strict=True))):
        chosen = np.flatnonzero((t == time) & (z == plane))
        yield chosen, time, plane if by_plane else _view(stack, field)


def labels_of_rows(rows: pd.DataFrame, stack: Stack, time: int, view: ZChoice) -> Labels:
    """Label image of a field, by the rules of `UserLabels`.

    Parameters
    ----------
    rows : the cells of this field
    time, view : the field, as in `fields_of_rows`

    Raises
    ------
    InputError
        If the rows name several files, the file is no label image or does not fit the image, or
        a number of the rows is not in it or lies on several distant pieces.
    """
    files = rows["labels"].unique()
    if len(files) != 1:
        raise InputError(f"One image has several label images: {', '.join(files)}.")
    finder = open_labels(files[0], stack)
    if finder.is_mask:
        raise InputError(
            f"{files[0]} is a yes/no mask: which of its pieces is the cell of a row cannot be "
            "known. Give each cell a number of its own, or name the cells by x and y."
        )
    field = FieldView.whole(stack, time, view)
    labels, facts = finder.label(field, None), finder.measure(field)
    numbers = rows["label"].to_numpy()
    present = np.unique(labels)
    _refuse(rows, ~np.isin(numbers, present[present > 0]), f"is not in {files[0]} there")
    spread = np.isin(numbers, facts.several_pieces)
    _refuse(rows, spread, f"lies on several distant pieces in {files[0]}: number its cells again")
    return labels


def labelled_positions(rows: pd.DataFrame, labels: Labels) -> CellPositions:
    """Centroids of the labels of rows."""
    cells = CellPositions.of(labels)
    chosen = np.searchsorted(cells.numbers, rows["label"].to_numpy())
    return CellPositions(cells.numbers[chosen], cells.centres[chosen], labels.shape)


def _refuse(rows: pd.DataFrame, wrong: NDArray[np.bool_], why: str) -> None:
    """Raise `InputError` with the rows of which something is wrong, if there are any."""
    if not wrong.any():
        return
    # Rows are numbered as in the file, whose first line is the header.
    lines = [
        f"row {row + 2}: label {label} {why}"
        for row, label in zip(rows["row"][wrong], rows["label"][wrong], strict=True)
    ]
    more = f"\n... and {len(lines) - _MOST_LISTED} more" if len(lines) > _MOST_LISTED else ""
    raise InputError(
        "Cells of the table cannot be used.\n" + "\n".join(lines[:_MOST_LISTED]) + more
    )


def _view(stack: Stack, field: str) -> ZChoice:
    """Argument ``z`` of `Stack.field`; None for the only plane."""
    flat = stack.data.shape[2] == 1 and field != "volume"
    return None if flat or field == "plane" else field  # type: ignore[return-value]
