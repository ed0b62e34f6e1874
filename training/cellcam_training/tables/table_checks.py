"""Checks of a cell table: every problem is reported with its row before anything is trained."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.errors import InputError
from cellcam_training.tables.spreadsheets import ExcelDate, ExcelError

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.stacks.stack import Stack

    Problem = tuple[int, str]  # row number, counted from 0, and description

TRAINING_WORDS = ("train", "training")
VALIDATION_WORDS = ("val", "valid", "validation")
# Places of tables whose images are crops of one cell each.
READY_MADE = ("index", "whole")
BOX = ["xmin", "ymin", "xmax", "ymax"]
_MOST_LISTED = 20
_FEW_CELLS = 20
_FEWEST_PARTS = 5


def check_general(rows: pd.DataFrame) -> list[str]:
    """What a training lacks: two classes, and two cells of each."""
    counts = rows["cls"][rows["cls"] != ""].value_counts()
    general = [f"class {name} has one cell only" for name, n in counts.items() if n < 2]
    if len(counts) < 2:
        general.append(f"there is one class only, {', '.join(map(str, counts.index))}")
    return [f"{text}; a class needs two cells, a table two classes" for text in general]


def class_problems(values: pd.Series[Any]) -> list[Problem]:
    """Rows without a class, or with something that a spreadsheet made of it."""
    problems = []
    for i, value in enumerate(values):
        if value == "":
            problems.append((i, "no class; fill it in or delete the row"))
        elif isinstance(value, ExcelDate):
            text = (
                f"the class is the date {value}, which the spreadsheet made of another text; "
                "format the column as text and type the class again"
            )
            problems.append((i, text))
        elif isinstance(value, ExcelError):
            problems.append((i, f"the class is {value}, an error of the spreadsheet"))
    return problems


def check_units(rows: pd.DataFrame, place: str) -> list[str]:
    """Places between 0 and 1 are parts of an image, as YOLO writes them, and no pixels."""
    names = {"centre": ["x", "y"], "box": BOX}.get(place)
    if names is None or len(rows) < _FEWEST_PARTS:
        return []
    places = rows[names].to_numpy(float)
    if not ((places >= 0) & (places <= 1)).all() or (places % 1 == 0).all():
        return []
    text = (
        f"{', '.join(names)} lie between 0 and 1 in all rows: they look like parts of the image. "
        "Multiply them by its width and height in pixels"
    )
    return [text]


def split_problems(rows: pd.DataFrame) -> list[Problem]:
    """Rows whose split is neither for training nor for validation."""
    known = {"", *TRAINING_WORDS, *VALIDATION_WORDS}
    return [
        (i, f'split {word!r} is neither train nor val; --only "split!={word}" leaves it out')
        for i, word in enumerate(rows["split"])
        if word.lower() not in known
    ]


def check_images(
    rows: pd.DataFrame, place: str, source: Path, opened: Callable[[str], Stack], field: str
) -> tuple[str, ...]:
    """Check that all cells lie on their images; no pixels are read.

    Parameters
    ----------
    rows, place : see `CellTable`
    opened : opens an image
    field : how a stack with several planes is reduced, see `CropSettings`

    Returns
    -------
    what must be known of the images: notes on them, and that their pixels are of several kinds

    Raises
    ------
    InputError
        With all problems, row by row: images that cannot be opened, channels that differ from
        those of the first image, boxes and centres outside the image, missing pages and planes,
        a time point or plane that the table does not state.
    """
    problems: list[Problem] = []
    channels: tuple[str, ...] | None = None
    notes: dict[str, list[str]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)
    for image, cells in rows.groupby("image", sort=True):
        numbers = cells.index.to_numpy()
        try:
            stack = opened(str(image))
        except InputError as error:
            problems.append((int(numbers[0]), str(error)))
            continue
        kinds[stack.data.dtype.name].append(stack.name)
        for note in stack.notes:
            notes[note].append(stack.name)
        channels = channels or stack.channels
        if stack.channels != channels:
            difference = (
                f"{image} has the channels {', '.join(stack.channels)}, the images before it "
                f"{', '.join(channels)}; name them alike (--channels), or leave rows out (--only)"
            )
            problems.append((int(numbers[0]), difference))
        problems += [(int(numbers[i]), text) for i, text in _outside_image(cells, place, stack)]
        unstated = _unstated(cells, place, stack, field)
        problems += [(int(numbers[0]), unstated)] if unstated else []
    refuse(problems, [], rows, source)
    told = [f"{_named(names)}: {note}" for note, names in notes.items()]
    if len(kinds) > 1:
        listed = "; ".join(f"{kind} in {_named(names)}" for kind, names in kinds.items())
        told.append(
            f"The images hold pixels of several kinds ({listed}), whose counts may not be "
            "comparable: the network may learn the kind instead of the class. Export them alike."
        )
    return tuple(told)


def _named(images: list[str]) -> str:
    return images[0] if len(images) == 1 else f"{len(images)} images such as {images[0]}"


def refuse(
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
    if place not in READY_MADE:
        splits = rows[rows["split"] != ""].groupby("image")["split"].nunique()
        warnings += [
            f"{name} is on both sides of the split: neighbouring cells look alike, so the metrics "
            "are too good."
            for name in splits.index[splits > 1]
        ]
    warnings += _alike(rows["cls"].unique().tolist())
    if (rows["split"] != "").any() and (rows["split"] == "").any():
        n = int((rows["split"] == "").sum())
        warnings.append(f"{n} rows have no split; their cells are used for training.")
    counts = rows["cls"].value_counts()
    few = [f"{name} ({n})" for name, n in counts.items() if n < _FEW_CELLS]
    if few:
        warnings.append(f"Fewer than {_FEW_CELLS} cells of {', '.join(few)}: label more of them.")
    return tuple(warnings)


def row_problems(rows: pd.DataFrame) -> list[Problem]:
    """Files that do not exist, and empty boxes."""
    problems: list[Problem] = []
    for column in ("image", "labels"):
        if column in rows:
            # os.path, unlike Path, answers for names that are too long or hold a zero byte, too.
            missing = {name for name in rows[column].unique() if not os.path.isfile(name)}
            for i in np.flatnonzero(rows[column].isin(missing)):
                name = rows[column].iloc[i]
                problems.append((int(i), f"there is no file {name}" if name else f"no {column}"))
    if "xmin" in rows:
        corners = rows[BOX].to_numpy(float)
        empty = (corners[:, 2] <= corners[:, 0]) | (corners[:, 3] <= corners[:, 1])
        for i in np.flatnonzero(empty):
            text = "the box is empty (xmin < xmax and ymin < ymax are needed, half-open)"
            problems.append((int(i), text))
    return problems


def _alike(classes: list[str]) -> list[str]:
    """Warnings of classes that differ in upper and lower case only, or are the same number."""
    same: dict[str, list[str]] = {}
    for name in sorted(classes):
        same.setdefault(_number(name) or name.casefold(), []).append(name)
    return [
        f"The classes {' and '.join(names)} are the same number. Are they one class?"
        if _number(names[0])
        else f"The classes {' and '.join(names)} differ in upper and lower case only. Are they one?"
        for names in same.values()
        if len(names) > 1
    ]


def _number(name: str) -> str | None:
    """The number that a class is called, such as 1 for 1.0 and 01; None for other names."""
    is_number = re.fullmatch(r"[+-]?\d+([.,]\d+)?", name, re.ASCII)
    return f"{float(name.replace(',', '.')):g}" if is_number else None


def _unstated(cells: pd.DataFrame, place: str, stack: Stack, field: str) -> str:
    """What the table must say about a movie or a z-stack; empty if it says it."""
    n_times, _, n_planes = stack.data.shape[:3]
    if place == "index":
        return ""
    if n_times > 1 and "t" not in cells:
        return (
            f"{stack.name} has {n_times} time points; the table needs a column t (from 0) that "
            "says when each cell is there"
        )
    if n_planes > 1 and field == "plane":
        if "z" not in cells:
            return (
                f"{stack.name} has {n_planes} planes; say which of them show a cell: in a column z "
                "of the table (from 0), or all of them, with --field max (the brightest pixels), "
                "mean or volume"
            )
        between = cells["z"].to_numpy(float) % 1 != 0
        if between.any():
            return f"z = {cells['z'][between].iloc[0]:g} lies between two planes"
    return ""


def _outside_image(cells: pd.DataFrame, place: str, stack: Stack) -> Iterator[Problem]:
    """Cells that are not on their image; numbers count the rows of ``cells``."""
    n_times, _, n_planes, height, width = stack.data.shape
    if place == "index":
        yield from _out_of_range(cells["index"], n_times, "page group", stack)
        return
    other = {"t": f"z, of which there are {n_planes}", "z": f"t, of which there are {n_times}"}
    for name, count in (("t", n_times), ("z", n_planes)):
        if name in cells:
            hint = f"; is it its {other[name]}?" if count == 1 < n_times * n_planes else ""
            yield from _out_of_range(cells[name], count, f"{name} =", stack, hint)
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
    values: pd.Series[float], count: int, name: str, stack: Stack, hint: str = ""
) -> Iterator[Problem]:
    """Values that are not within 0 to ``count`` - 1."""
    numbers = values.to_numpy(float)
    for i in np.flatnonzero(~((numbers >= 0) & (numbers <= count - 1))):
        yield (
            int(i),
            f"{name} {numbers[i]:g} is not in {stack.name}, which has 0 to {count - 1}{hint}",
        )
