"""Cell tables: which cells there are, where their pixels lie, and what class they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_PLACES = {
    "index": ("index",),
    "box": ("xmin", "ymin", "xmax", "ymax"),
    "label": ("labels", "label"),
    "centre": ("x", "y"),
}


_MOST_TOLD = 20


@dataclass(frozen=True)
class CellTable:
    """A checked cell table.

    Attributes
    ----------
    rows : columns image (absolute path), cls, group, split and those of ``place``
    place : ``"index"`` (page group in a stack of crops), ``"box"``, ``"label"`` or ``"centre"``
    classes : names, in alphabetical order
    warnings : what may make figures lie: classes that come from one group, images on both
        sides of the split
    """

    rows: pd.DataFrame
    place: str
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def truth(self) -> NDArray[np.int64]:
        """Class index of every cell."""
        return np.array([self.classes.index(name) for name in self.rows["cls"]], np.int64)

    def part(self, rows: NDArray[np.int64]) -> CellTable:
        """These cells only; the classes stay."""
        return replace(self, rows=self.rows.iloc[rows].reset_index(drop=True))


def read_cell_table(
    path: Path, class_column: str = "cls", group_column: str | None = None
) -> CellTable:
    """Read a cell table from CSV or Parquet.

    Parameters
    ----------
    path : of the table; paths inside it are relative to its folder
    class_column : column with the class
    group_column : plate, movie or patient, never split across training and validation;
        default: ``group`` where there is such a column

    Raises
    ------
    InputError
        If columns, images or classes are missing.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"There is no cell table {path}. Check the path.")
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    image_column = next((name for name in ("image", "file") if name in table), None)
    place = next((p for p, names in _PLACES.items() if set(names) <= set(table)), None)
    if image_column is None or place is None or class_column not in table:
        wanted = "; ".join(",".join(names) for names in _PLACES.values())
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}. It needs image (or file), "
            f"{class_column} for the class, and one of: {wanted}."
        )
    if group_column is not None and group_column not in table:
        raise InputError(f"{path} has no column {group_column!r} to group by.")
    group = group_column or ("group" if "group" in table else None)
    rows = pd.DataFrame({name: table[name] for name in _place_columns(place, table)})
    rows["image"] = [str(path.parent / str(name)) for name in table[image_column]]
    rows["cls"] = table[class_column].astype(str)
    rows["group"] = table[group].astype(str) if group else ""
    rows["split"] = table["split"].astype(str) if "split" in table else ""
    if "labels" in rows:
        rows["labels"] = [str(path.parent / str(name)) for name in rows["labels"]]
    _check_rows(rows, table[class_column].isna().to_numpy(), path)
    classes = tuple(sorted(rows["cls"].unique()))
    return CellTable(rows, place, classes, _warnings(rows, place))


def _place_columns(place: str, table: pd.DataFrame) -> list[str]:
    return [*_PLACES[place], *(name for name in ("z", "t") if name in table)]


def _check_rows(rows: pd.DataFrame, without_class: NDArray[np.bool_], path: Path) -> None:
    """Refuse a table with everything that is wrong with it, row by row."""
    if not len(rows):
        raise InputError(f"{path} holds no cells.")
    problems = sorted([*_row_problems(rows, without_class)])
    # The first line of the file names the columns.
    told = [f"row {i + 2}: {text}" for i, text in problems]
    counts = rows["cls"][~without_class].value_counts()
    rare = [f"class {name} has one cell only" for name, n in counts.items() if n < 2]
    if len(counts) < 2:
        rare.append(f"there is one class only, {', '.join(map(str, counts.index))}")
    told += [f"{text}; a class needs two cells, a table two classes" for text in rare]
    if told:
        more = f"\n... and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        raise InputError(
            f"{path} cannot be used; paths are relative to the table.\n"
            + "\n".join(told[:_MOST_TOLD])
            + more
        )


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
        corners = rows[list(_PLACES["box"])].to_numpy(float)
        empty = ~((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
        for i in np.flatnonzero(empty):
            yield int(i), "the box has no extent (xmin < xmax and ymin < ymax, half-open)"


def _warnings(rows: pd.DataFrame, place: str) -> tuple[str, ...]:
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
    if place != "index":
        splits = rows[rows["split"] != ""].groupby("image")["split"].nunique()
        told += [
            f"{name} is on both sides of the split: neighbours look alike, so the figures flatter."
            for name in splits.index[splits > 1]
        ]
    return tuple(told)
