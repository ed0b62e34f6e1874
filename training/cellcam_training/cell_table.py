"""Cell tables: which cells there are, where their pixels lie, and what class they have."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class CellTable:
    """A checked cell table.

    Attributes
    ----------
    rows : columns image (absolute path), cls, group, split and those of ``place``
    place : ``"index"`` (page group in a stack of crops), ``"box"``, ``"label"`` or ``"centre"``
    classes : names, in alphabetical order
    """

    rows: pd.DataFrame
    place: str
    classes: tuple[str, ...]


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
    return CellTable(rows, place, tuple(sorted(rows["cls"].unique())))


def _place_columns(place: str, table: pd.DataFrame) -> list[str]:
    return [*_PLACES[place], *(name for name in ("z", "t") if name in table)]


def _check_rows(rows: pd.DataFrame, without_class: NDArray[np.bool_], path: Path) -> None:
    if not len(rows):
        raise InputError(f"{path} holds no cells.")
    if without_class.any():
        first = int(np.flatnonzero(without_class)[0])
        raise InputError(f"{path}: row {first + 2} has no class. Fill it in or delete the row.")
    missing = sorted({name for name in rows["image"] if not Path(name).is_file()})
    if missing:
        raise InputError(
            f"{path} names {len(missing)} images that do not exist, the first is {missing[0]}. "
            "Paths are relative to the table."
        )
    counts = rows["cls"].value_counts()
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            f"{path} needs two classes or more with two cells or more each; it has "
            + ", ".join(f"{name} ({n})" for name, n in counts.items())
            + "."
        )
