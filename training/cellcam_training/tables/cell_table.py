"""Cell tables: which cells there are, where their pixels lie, and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam_training.tables.table_checks import BOX, check_rows, warnings_about
from cellcam_training.tables.table_formats import filtered_rows, raw_table

if TYPE_CHECKING:
    import pandas as pd

Place = Literal["index", "box", "label", "centre", "whole"]

_COLUMNS: dict[Place, list[str]] = {
    "index": ["index"],
    "box": BOX,
    "label": ["labels", "label"],
    "centre": ["x", "y"],
}


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
        images on both sides of the split
    """

    rows: pd.DataFrame
    place: Place
    classes: tuple[str, ...]
    source: Path = Path()
    warnings: tuple[str, ...] = ()

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
) -> CellTable:
    """Read a cell table in any of the formats of `raw_table`.

    Parameters
    ----------
    path : of the table; paths inside it are relative to its folder
    class_column : column with the class
    group_column : plate, movie or patient, never split across training and validation;
        default: ``group`` if there is such a column
    only : conditions on rows, see `filtered_rows`
    image : image of all rows, for tables without a column that names it
    to_train : refuse classes with a single cell, and tables with a single class

    Raises
    ------
    InputError
        If columns, images or classes are missing.
    """
    table = filtered_rows(raw_table(path, class_column, image), only)
    image_column = next((name for name in ("image", "file") if name in table), None)
    place = next((p for p, names in _COLUMNS.items() if set(names) <= set(table)), None)
    place = "whole" if place is None and path.is_dir() else place
    if image_column is None or place is None or class_column not in table:
        wanted = "; ".join(",".join(names) for names in _COLUMNS.values())
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}. It needs image (or file; "
            f"--image names one image for all rows), {class_column} for the class "
            f"(--class-column), and one of: {wanted}."
        )
    if group_column is not None and group_column not in table:
        raise InputError(f"{path} has no column {group_column!r} to group by.")
    rows = _standard_columns(table, place, image_column, class_column, group_column, path)
    check_rows(rows, table[class_column].isna().to_numpy(), path, to_train)
    classes = tuple(sorted(rows["cls"].unique()))
    return CellTable(rows, place, classes, path, warnings_about(rows, place))


def _standard_columns(
    table: pd.DataFrame,
    place: Place,
    image_column: str,
    class_column: str,
    group_column: str | None,
    path: Path,
) -> pd.DataFrame:
    """The table with the columns of `CellTable`."""
    folder = path if path.is_dir() else path.parent
    group = group_column or ("group" if "group" in table else None)
    names = [*_COLUMNS.get(place, []), *(name for name in ("z", "t") if name in table)]
    rows = table[names].copy()
    rows["row"] = table.index
    rows["image"] = [str(folder / str(name)) for name in table[image_column]]
    rows["cls"] = table[class_column].astype(str)
    rows["group"] = table[group].astype(str) if group else ""
    rows["split"] = table["split"].astype(str) if "split" in table else ""
    if "labels" in rows:
        rows["labels"] = [str(folder / str(name)) for name in rows["labels"]]
    return rows.reset_index(drop=True)
