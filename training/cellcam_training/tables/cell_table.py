"""Cell tables: which cells there are, where their pixels lie, and what class they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam_training.tables.table_checks import BOX, check_rows, warnings_about
from cellcam_training.tables.table_formats import chosen_rows, raw_table

if TYPE_CHECKING:
    import pandas as pd

_PLACES = {
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
    rows : columns image (absolute path), cls, group, split, row (of the file, counted from 0
        below its header) and those of ``place``
    place : ``"index"`` (page group in a stack of crops), ``"box"``, ``"label"``, ``"centre"``
        or ``"whole"`` (each image is one cell)
    classes : names, in alphabetical order
    source : path of the table, for messages
    warnings : what may make figures lie: classes that come from one group or have few cells,
        images on both sides of the split
    """

    rows: pd.DataFrame
    place: str
    classes: tuple[str, ...]
    source: Path = Path()
    warnings: tuple[str, ...] = ()

    def truth(self) -> NDArray[np.int64]:
        """Class index of every cell."""
        return np.array([self.classes.index(name) for name in self.rows["cls"]], np.int64)

    def part(self, rows: NDArray[np.int64]) -> CellTable:
        """These cells only; the classes stay."""
        return replace(self, rows=self.rows.iloc[rows].reset_index(drop=True))


def read_cell_table(
    path: Path,
    class_column: str = "cls",
    group_column: str | None = None,
    only: Sequence[str] = (),
    image: Path | None = None,
    to_train: bool = True,
) -> CellTable:
    """Read a cell table, of any of the forms of `raw_table`.

    Parameters
    ----------
    path : of the table; paths inside it are relative to its folder
    class_column : column with the class
    group_column : plate, movie or patient, never split across training and validation;
        default: ``group`` where there is such a column
    only : conditions on rows, see `chosen_rows`
    image : the image that all rows are about, where no column says it
    to_train : refuse classes with a single cell, and tables with a single class

    Raises
    ------
    InputError
        If columns, images or classes are missing.
    """
    table = chosen_rows(raw_table(path, class_column, image), only)
    image_column = next((name for name in ("image", "file") if name in table), None)
    place = next((p for p, names in _PLACES.items() if set(names) <= set(table)), None)
    place = "whole" if place is None and path.is_dir() else place
    if image_column is None or place is None or class_column not in table:
        wanted = "; ".join(",".join(names) for names in _PLACES.values())
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}. It needs image (or file; "
            f"--image names one image for all rows), {class_column} for the class "
            f"(--class-column), and one of: {wanted}."
        )
    if group_column is not None and group_column not in table:
        raise InputError(f"{path} has no column {group_column!r} to group by.")
    rows = _rows(table, place, image_column, class_column, group_column, path)
    check_rows(rows, table[class_column].isna().to_numpy(), path, to_train)
    classes = tuple(sorted(rows["cls"].unique()))
    return CellTable(rows, place, classes, path, warnings_about(rows, place))


def _rows(
    table: pd.DataFrame,
    place: str,
    image_column: str,
    class_column: str,
    group_column: str | None,
    path: Path,
) -> pd.DataFrame:
    """The table in CellCam's own columns."""
    folder = path if path.is_dir() else path.parent
    group = group_column or ("group" if "group" in table else None)
    names = [*_PLACES.get(place, []), *(name for name in ("z", "t") if name in table)]
    rows = table[names].copy()
    rows["row"] = table.index
    rows["image"] = [str(folder / str(name)) for name in table[image_column]]
    rows["cls"] = table[class_column].astype(str)
    rows["group"] = table[group].astype(str) if group else ""
    rows["split"] = table["split"].astype(str) if "split" in table else ""
    if "labels" in rows:
        rows["labels"] = [str(folder / str(name)) for name in rows["labels"]]
    return rows.reset_index(drop=True)
