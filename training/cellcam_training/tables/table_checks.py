"""Checks of a cell table: every problem is reported with its row before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.stacks.stack import Stack

    Problem = tuple[int, str]  # row number, counted from 0, and description

BOX = ["xmin", "ymin", "xmax", "ymax"]
_MOST_LISTED = 20
_FEW_CELLS = 20


def check_rows(
    rows: pd.DataFrame, without_class: NDArray[np.bool_], source: Path, to_train: bool
) -> None:
    """Check a table without opening any image.

    Parameters
    ----------
    rows : see `CellTable`; its column ``row`` counts the rows of the file
    without_class : (N,) whether the row has no class
    source : the table's path
    to_train : require what a training needs: two classes, and two cells of each

    Raises
    ------
    InputError
        With all problems, row by row.
    """
    if not len(rows):
        raise InputError(f"{source} holds no cells, or --only left none.")
    counts = rows["cls"][~without_class].value_counts()
    general = [f"class {name} has one cell only" for name, n in counts.items() if n < 2]
    if len(counts) < 2:
        general.append(f"there is one class only, {', '.join(map(str, counts.index))}")
    general = [f"{text}; a class needs two cells, a table two classes" for text in general]
    _refuse(_row_problems(rows, without_class), general if to_train else [], rows, source)


def check_images(
    rows: pd.DataFrame, place: str, source: Path, opened: Callable[[str], Stack]
) -> None:
    """Check that all cells lie on their images; no pixels are read.

    Parameters
    ----------
    rows, place : see `CellTable`
    opened : opens an image

    Raises
    ------
    InputError
        With all problems, row by row: images that cannot be opened, channels that differ from
        those of the first image, boxes and centres outside the image, missing pages and planes.
    """
    problems: list[Problem] = []
    channels: tuple[str, ...] | None = None
    for image, cells in rows.groupby("image", sort=True):
        numbers = cells.index.to_numpy()
        try:
            stack = opened(str(image))
        except InputError as error:
            problems.append((int(numbers[0]), str(error)))
            continue
        channels = channels or stack.channels
        if stack.channels != channels:
            difference = (
                f"{image} has the channels {', '.join(stack.channels)}, the images before it "
                f"{', '.join(channels)}; name them alike (--channels), or leave rows out (--only)"
            )
            problems.append((int(numbers[0]), difference))
        problems += [(int(numbers[i]), text) for i, text in _outside_image(cells, place, stack)]
    _refuse(problems, [], rows, source)


def _refuse(
    problems: Iterable[Problem], general: list[str], rows: pd.DataFrame, source: Path
) -> None:
    """Raise `InputError` with all problems, if there are any."""
    # Rows are numbered as in the file, whose first line is the header.
    lines = [f"row {rows['row'].iloc[i] + 2}: {text}" for i, text in sorted(problems)] + general
    if lines:
        more = f"\n... and {len(lines) - _MOST_LISTED} more" if len(lines) > _MOST_LISTED else ""
        raise InputError(
            f"{source} cannot be used; paths are relative to the table.\n"
            + "\n".join(lines[:_MOST_LISTED])
            + more
        )


def warnings_about(rows: pd.DataFrame, place: str) -> tuple[str, ...]:
    """Properties of a table that do not stop a training but may make its metrics misleading."""
    warnings = []
    if (rows["group"] != "").any():
        groups = rows.groupby("cls")["group"].nunique()
        from_one_group = [str(name) for name in groups.index[groups == 1]]
        if from_one_group:
            warnings.append(
                f"All cells of a class come from one group (of {', '.join(from_one_group)} each): "
                "the network may learn the group instead of the class, and no metric can show it."
            )
    if place not in ("index", "whole"):
        splits = rows[rows["split"] != ""].groupby("image")["split"].nunique()
        warnings += [
            f"{name} is on both sides of the split: neighbouring cells look alike, so the metrics "
            "are too good."
            for name in splits.index[splits > 1]
        ]
    counts = rows["cls"].value_counts()
    few = [f"{name} ({n})" for name, n in counts.items() if n < _FEW_CELLS]
    if few:
        warnings.append(f"Fewer than {_FEW_CELLS} cells of {', '.join(few)}: label more of them.")
    return tuple(warnings)


def _row_problems(rows: pd.DataFrame, without_class: NDArray[np.bool_]) -> Iterator[Problem]:
    for i in np.flatnonzero(without_class):
        yield int(i), "no class; fill it in or delete the row"
    for column in ("image", "labels"):
        if column in rows:
            missing = {name for name in rows[column].unique() if not Path(name).is_file()}
            for i in np.flatnonzero(rows[column].isin(missing)):
                yield int(i), f"there is no file {rows[column].iloc[i]}"
    if "xmin" in rows:
        corners = rows[BOX].to_numpy(float)
        empty = ~((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
        for i in np.flatnonzero(empty):
            yield int(i), "the box is empty (xmin < xmax and ymin < ymax are needed, half-open)"


def _outside_image(cells: pd.DataFrame, place: str, stack: Stack) -> Iterator[Problem]:
    """Cells that are not on their image; numbers count the rows of ``cells``."""
    n_times, _, n_planes, height, width = stack.data.shape
    if place == "index":
        yield from _out_of_range(cells["index"], n_times, "page group", stack)
        return
    for name, count in (("t", n_times), ("z", n_planes)):
        if name in cells:
            yield from _out_of_range(cells[name], count, f"{name} =", stack)
    if place == "centre":
        x, y = cells["x"].to_numpy(float), cells["y"].to_numpy(float)
        within = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    elif place == "box":
        left, top, right, bottom = cells[BOX].to_numpy(float).T
        within = (left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)
    else:
        return
    for i in np.flatnonzero(~within):
        values = cells.iloc[i][["x", "y"] if place == "centre" else BOX]
        listed = ", ".join(f"{float(value):g}" for value in values)
        yield int(i), f"{place} {listed} is outside the image of {width} x {height} pixels (x, y)"


def _out_of_range(
    values: pd.Series[float], count: int, name: str, stack: Stack
) -> Iterator[Problem]:
    """Values that are not within 0 to ``count`` - 1."""
    numbers = values.to_numpy(float)
    for i in np.flatnonzero(~((numbers >= 0) & (numbers <= count - 1))):
        yield int(i), f"{name} {numbers[i]:g} is not in {stack.name}, which has 0 to {count - 1}"
