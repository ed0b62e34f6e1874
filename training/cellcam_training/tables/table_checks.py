"""What is wrong with a cell table, told row by row before anything is trained."""

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

BOX = ["xmin", "ymin", "xmax", "ymax"]
_MOST_TOLD = 20
_FEW_CELLS = 20


def check_rows(
    rows: pd.DataFrame, without_class: NDArray[np.bool_], source: Path, to_train: bool
) -> None:
    """Refuse a table with everything that is wrong with it; no image is opened.

    Parameters
    ----------
    rows : see `CellTable`; its column ``row`` counts the rows of the file
    without_class : (N,) which rows have no class
    source : the table's path
    to_train : whether a network is to learn the classes, which takes two of them and two cells

    Raises
    ------
    InputError
        With the complaints, row by row.
    """
    if not len(rows):
        raise InputError(f"{source} holds no cells, or --only left none.")
    counts = rows["cls"][~without_class].value_counts()
    general = [f"class {name} has one cell only" for name, n in counts.items() if n < 2]
    if len(counts) < 2:
        general.append(f"there is one class only, {', '.join(map(str, counts.index))}")
    general = [f"{text}; a class needs two cells, a table two classes" for text in general]
    refuse(_row_problems(rows, without_class), general if to_train else [], rows, source)


def check_images(
    rows: pd.DataFrame, place: str, source: Path, opened: Callable[[str], Stack]
) -> None:
    """Refuse a table whose cells are not on its images; no pixels are read.

    Parameters
    ----------
    rows, place : see `CellTable`
    opened : opens an image

    Raises
    ------
    InputError
        With the complaints, row by row: images that cannot be opened, other channels than the
        first one's, boxes and centres outside, pages and planes that are not there.
    """
    problems: list[tuple[int, str]] = []
    channels: tuple[str, ...] | None = None
    for image, own in rows.groupby("image", sort=True):
        where = own.index.to_numpy()
        try:
            stack = opened(str(image))
        except InputError as error:
            problems.append((int(where[0]), str(error)))
            continue
        channels = channels or stack.channels
        if stack.channels != channels:
            told = (
                f"{image} has the channels {', '.join(stack.channels)}, the images before it "
                f"{', '.join(channels)}; name them alike (--channels), or leave rows out (--only)"
            )
            problems.append((int(where[0]), told))
        problems += [(int(where[i]), text) for i, text in _outside(own, place, stack)]
    refuse(problems, [], rows, source)


def refuse(
    problems: Iterable[tuple[int, str]], general: list[str], rows: pd.DataFrame, source: Path
) -> None:
    """Raise `InputError` with all complaints, if there are any."""
    # The first line of a file names the columns.
    told = [f"row {rows['row'].iloc[i] + 2}: {text}" for i, text in sorted(problems)] + general
    if told:
        more = f"\n... and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        raise InputError(
            f"{source} cannot be used; paths are relative to the table.\n"
            + "\n".join(told[:_MOST_TOLD])
            + more
        )


def warnings_about(rows: pd.DataFrame, place: str) -> tuple[str, ...]:
    """What does not stop a training but may make its figures lie."""
    told = []
    if (rows["group"] != "").any():
        groups = rows.groupby("cls")["group"].nunique()
        alone = [str(name) for name in groups.index[groups == 1]]
        if alone:
            told.append(
                f"All cells of a class come from one group (of {', '.join(alone)} each): the "
                "network may learn the group instead of the class, and no figure can show it."
            )
    if place not in ("index", "whole"):
        splits = rows[rows["split"] != ""].groupby("image")["split"].nunique()
        told += [
            f"{name} is on both sides of the split: neighbours look alike, so the figures flatter."
            for name in splits.index[splits > 1]
        ]
    counts = rows["cls"].value_counts()
    few = [f"{name} ({n})" for name, n in counts.items() if n < _FEW_CELLS]
    if few:
        told.append(f"Fewer than {_FEW_CELLS} cells of {', '.join(few)}: label more of them.")
    return tuple(told)


def _row_problems(
    rows: pd.DataFrame, without_class: NDArray[np.bool_]
) -> Iterator[tuple[int, str]]:
    """Number and complaint of each row that cannot be used."""
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
            yield int(i), "the box has no extent (xmin < xmax and ymin < ymax, half-open)"


def _outside(own: pd.DataFrame, place: str, stack: Stack) -> Iterator[tuple[int, str]]:
    """Number, among one image's rows, and complaint of each cell that is not on the image."""
    n_times, _, n_planes, height, width = stack.data.shape
    if place == "index":
        yield from _beyond(own["index"], n_times, "page group", stack)
        return
    for name, count in (("t", n_times), ("z", n_planes)):
        if name in own:
            yield from _beyond(own[name], count, f"{name} =", stack)
    if place == "centre":
        x, y = own["x"].to_numpy(float), own["y"].to_numpy(float)
        within = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    elif place == "box":
        left, top, right, bottom = own[BOX].to_numpy(float).T
        within = (left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)
    else:
        return
    for i in np.flatnonzero(~within):
        where = own.iloc[i][["x", "y"] if place == "centre" else BOX]
        told = ", ".join(f"{float(value):g}" for value in where)
        yield int(i), f"{place} {told} is outside the image of {width} x {height} pixels (x, y)"


def _beyond(
    values: pd.Series[float], count: int, what: str, stack: Stack
) -> Iterator[tuple[int, str]]:
    numbers = values.to_numpy(float)
    for i in np.flatnonzero(~((numbers >= 0) & (numbers <= count - 1))):
        yield int(i), f"{what} {numbers[i]:g} is not in {stack.name}, which has 0 to {count - 1}"
