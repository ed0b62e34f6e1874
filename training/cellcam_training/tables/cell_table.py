"""Cell tables: which cells there are, where their pixels lie, and their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam_training.tables.distinct_cells import distinct_cells
from cellcam_training.tables.napari_points import image_path
from cellcam_training.tables.numbers import column_numbers
from cellcam_training.tables.table_checks import (
    BOX,
    check_general,
    check_units,
    class_problems,
    refuse,
    row_problems,
    split_problems,
    warnings_about,
)
from cellcam_training.tables.table_files import RawTable
from cellcam_training.tables.table_formats import filtered_rows, image_column, raw_table

if TYPE_CHECKING:
    import pandas as pd

    from cellcam_training.tables.table_checks import Problem

Place = Literal["index", "box", "label", "centre", "whole"]

_COLUMNS: dict[Place, list[str]] = {
    "index": ["index"],
    "box": BOX,
    "label": ["labels", "label"],
    "centre": ["x", "y"],
    "whole": [],
}
_SIDES = (("width", "height"), ("w", "h"))
_INDEX_TAKEN = (
    "The column index was taken for the number of the crop in a stack of crops, and x and y were "
    "not used. If the images are whole fields, remove the column index."
)
_CENTRES_TAKEN = (
    "x and y were taken for the centres of the cells, and {} and {} were not used. If x and y are "
    "corners of boxes, give columns xmin, ymin, xmax and ymax instead."
)
_WHOLE_NUMBERS = ("index", "label", "t")


@dataclass(frozen=True)
class CellTable:
    """A checked cell table.

    Attributes
    ----------
    rows : columns image (absolute path), cls, group, split, row (row of the file, counted from 0
        below its header) and the columns of ``place``
    place : how cells are located: ``"index"`` (page group in a stack of crops), ``"box"``,
        ``"label"`` (id in a label image), ``"centre"`` or ``"whole"`` (each image is one cell)
    classes : class names, in alphabetical order
    source : path of the table, for messages
    warnings : reasons to doubt the metrics: classes that come from one group or have few cells,
        images on both sides of the split, cells that stand in the table twice
    notes : facts about the file that the user must know
    axes : of the images, where their files do not state them
    """

    rows: pd.DataFrame
    place: Place
    classes: tuple[str, ...]
    source: Path = Path()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    axes: str | None = None

    def truth(self) -> NDArray[np.int64]:
        """Class index of every cell, (N,)."""
        return np.array([self.classes.index(name) for name in self.rows["cls"]], np.int64)

    def part(self, rows: NDArray[np.int64]) -> CellTable:
        """Table of the cells with these row numbers; ``classes`` is unchanged."""
        return replace(self, rows=self.rows.iloc[rows].reset_index(drop=True))


def group_numbers(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Number (N,) of the plate, movie or patient of each cell; unique if the cell has no group."""
    names = rows["group"].to_numpy(str)
    groups = np.where(names == "", [f"cell {i}" for i in range(len(names))], names)
    numbers: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1]
    return numbers


def read_cell_table(
    path: Path,
    class_column: str = "cls",
    group_column: str | None = None,
    only: Sequence[str] = (),
    image: Path | None = None,
    to_train: bool = True,
    axes: str | None = None,
) -> CellTable:
    """Read a cell table in any of the formats of `raw_table`.

    Class names are texts as they stand in the file, ``01``, ``NA`` and ``None`` too; only an
    empty value is a missing class. A cell that stands in the table twice is used once.

    Parameters
    ----------
    path : of the table; paths inside it are relative to its folder
    class_column : column with the class
    group_column : plate, movie or patient, never split across training and validation;
        default: ``group`` if there is such a column
    only : conditions on rows, see `filtered_rows`
    image : image of all rows, for tables without a column that names it
    to_train : refuse classes with a single cell, and tables with a single class
    axes : of the images, such as ``"CYX"``, where their files do not state them

    Raises
    ------
    InputError
        If columns, images or classes are missing.
    """
    raw = raw_table(path, class_column, image, axes)
    table = filtered_rows(raw.rows, only)
    place = _place(table, path, class_column, group_column)
    rows, problems = _standard_columns(table, place, class_column, group_column, path, raw)
    if not len(rows):
        raise InputError(f"{path} holds no cells, or --only left none.")
    problems += class_problems(table[class_column])
    if to_train:
        problems += split_problems(rows)
    problems += row_problems(rows)
    refuse([], check_units(rows, place), rows, path)
    wrong = {i for i, _ in problems}
    sound = rows[[i not in wrong for i in range(len(rows))]]
    keep, contradictions, repeated = distinct_cells(sound.reset_index(drop=True), place)
    problems += [(int(sound.index[i]), text) for i, text in contradictions]
    wrong = {i for i, _ in problems}
    once = rows.drop(index=[i for i in sound.index[~keep] if i not in wrong])
    refuse(problems, check_general(once) if to_train else [], rows, path)
    rows = once.reset_index(drop=True)
    classes = tuple(sorted(rows["cls"].unique()))
    warnings = (*repeated, *warnings_about(rows, place))
    notes = raw.notes + _ignored(table, place)
    return CellTable(rows, place, classes, path, warnings, notes, axes)


def _place(table: pd.DataFrame, path: Path, class_column: str, group_column: str | None) -> Place:
    """How the table locates its cells.

    Raises
    ------
    InputError
        If it does not, or lacks another column.
    """
    places = (p for p, names in _COLUMNS.items() if names and set(names) <= set(table))
    place = next(places, "whole" if path.is_dir() else None)
    if image_column(table) is None or place is None or class_column not in table:
        wanted = "; ".join(",".join(names) for names in _COLUMNS.values() if names)
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}. It needs image (or file; "
            f"--image names one image for all rows), {class_column} for the class "
            f"(--class-column), and one of: {wanted}.{_hint(table)}"
        )
    if group_column is not None and group_column not in table:
        raise InputError(f"{path} has no column {group_column!r} to group by.")
    used = [class_column, group_column or "group", *_COLUMNS[place], "image", "split", "z", "t"]
    twice = [name for name in used if f"{name} (2)" in table]
    if twice:
        raise InputError(
            f"{path} has the column {twice[0]} twice. Rename the one that is not meant."
        )
    return place


def _hint(table: pd.DataFrame) -> str:
    """Help for names that differ in upper and lower case only, or that nothing separates."""
    if len(table.columns) == 1 and " " in table.columns[0]:
        return " Separate the values by commas, semicolons or tabs."
    known = {"image", "file", "cls", *(name for names in _COLUMNS.values() for name in names)}
    alike = [
        f"{name} to {name.lower()}" for name in map(str, table) if name.lower() in known - {*table}
    ]
    if not alike:
        return ""
    return f" Rename {', '.join(alike)}; places are in pixels, counted from 0."


def _ignored(table: pd.DataFrame, place: Place) -> tuple[str, ...]:
    """Note of columns that could have located the cells, too."""
    if place == "index" and {"x", "y"} <= set(table):
        return (_INDEX_TAKEN,)
    sides = [pair for pair in _SIDES if set(pair) <= set(table)]
    return (_CENTRES_TAKEN.format(*sides[0]),) if place == "centre" and sides else ()


def _standard_columns(
    table: pd.DataFrame,
    place: Place,
    class_column: str,
    group_column: str | None,
    path: Path,
    raw: RawTable,
) -> tuple[pd.DataFrame, list[Problem]]:
    """The table with the columns of `CellTable`, and values that are no numbers."""
    import pandas as pd

    folder = path if path.is_dir() else path.parent
    group = group_column or ("group" if "group" in table else None)
    of_the_image = [n for n in ("z", "t") if n in table and place != "index"]
    names = [*(n for n in _COLUMNS[place] if n != "labels"), *of_the_image]
    numbers, problems = column_numbers(table, names, _WHOLE_NUMBERS, raw.decimal_comma)
    rows = pd.DataFrame({name: _whole_if_possible(values) for name, values in numbers.items()})
    rows["row"] = table.index.to_numpy()
    rows["image"] = _paths(table[image_column(table)], folder)
    rows["cls"] = _names(table[class_column])
    rows["group"] = _names(table[group]) if group else ""
    rows["split"] = _names(table["split"]) if "split" in table else ""
    if place == "label":
        rows["labels"] = _paths(table["labels"], folder)
    return rows, problems


def _paths(names: pd.Series[Any], folder: Path) -> list[str]:
    """Absolute or table-relative paths; empty where the table names none."""
    paths = {name: str(image_path(folder, str(name))) if name != "" else "" for name in set(names)}
    return [paths[name] for name in names]


def _names(values: pd.Series[Any]) -> list[str]:
    """Names without characters that nobody sees, so that those that look alike are alike."""
    names = {value: _visible(str(value)) for value in set(values)}
    return [names[value] for value in values]


def _visible(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    seen = "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")
    return " ".join(seen.split())


def _whole_if_possible(numbers: NDArray[np.float64]) -> NDArray[np.float64] | NDArray[np.int64]:
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return numbers.astype(np.int64) if whole else numbers
