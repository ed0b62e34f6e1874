"""Cells of QuPath, CellProfiler, ilastik and files of outlines as rows of a cell table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.errors import InputError
from cellcam.exchange.cells import NOT_STATED, Cells
from cellcam.exchange.formats import reading_format
from cellcam_training.tables.table_files import read_table_file

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.stacks.stack import Stack

# Files of outlines, which may carry classes; tables and arrays are read elsewhere.
_OUTLINES = (".geojson", ".json", ".zip", ".roi")


@dataclass(frozen=True)
class _Program:
    """How a program names the columns of its tables.

    Attributes
    ----------
    place : columns x and y; µm where they end so
    corner : what its places of the first pixel's centre are: 0.5 where they count from its corner
    others : the column of a cell table for other columns
    classes : columns with the class, the first that is there
    """

    name: str
    place: tuple[str, str]
    corner: float
    others: Mapping[str, str]
    classes: tuple[str, ...]


_PROGRAMS = (
    _Program("QuPath", ("Centroid X px", "Centroid Y px"), 0.5, {"Image": "image"}, ("Class",)),
    _Program("QuPath", ("Centroid X µm", "Centroid Y µm"), 0.5, {"Image": "image"}, ("Class",)),
    _Program(
        "CellProfiler",
        ("Location_Center_X", "Location_Center_Y"),
        0,
        {"ObjectNumber": "label"},
        ("Class", "class"),
    ),
    _Program(
        "ilastik",
        ("Center of the object_0", "Center of the object_1"),
        0,
        {"labelimage_oid": "label", "timestep": "t"},
        ("User Label", "Predicted Class"),
    ),
)


def is_outlines(path: Path) -> bool:
    """Whether a file holds outlines, by its ending."""
    return path.suffix.lower() in _OUTLINES


def table_of_outlines(path: Path, class_column: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The cells of a file of outlines, those with a class, and notes for the user.

    Raises
    ------
    InputError
        If the file cannot be read, or no cell has a class.
    """
    import pandas as pd

    known = reading_format(path)
    assert known is not None
    found = known.read(path)
    images = [found] if isinstance(found, Cells) else found
    assert isinstance(images, list)
    tables = [_rows(cells, path, class_column) for cells in images]
    notes = [note for cells in images for note in cells.notes]
    table, without = _with_class(pd.concat(tables, ignore_index=True), class_column, path)
    return table, (*notes, *without)


def named_columns(
    table: pd.DataFrame, class_column: str, path: Path, opened: Callable[[str], Stack]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A table of QuPath, CellProfiler or ilastik with the columns of a cell table.

    Other tables are returned as they are.

    Parameters
    ----------
    opened : opens an image of the column ``image``; places in um need its pixel size

    Raises
    ------
    InputError
        If a place in um belongs to an image of unknown pixel size, or no cell has a class.
    """
    micro = {name: name.replace("μ", "µ") for name in map(str, table)}
    table = table.rename(columns=micro)
    program = next((known for known in _PROGRAMS if {*known.place} <= set(table)), None)
    if program is None or {"x", "y"} <= set(table):
        return table, ()
    table = _with_images(table, path)
    renamed = {old: new for old, new in program.others.items() if new not in table}
    stated = [name for name in program.classes if name in table]
    if class_column not in table and stated:
        renamed[stated[0]] = class_column
    table = table.rename(columns=renamed)
    for axis, name in zip("xy", program.place, strict=True):
        table[axis] = _places(table, name, axis, program, path, opened)
    note = f"{path.name} was read as a table of {program.name}: places from {program.place[0]}"
    if class_column not in table:
        return table, (f"{note}.",)
    table, without = _with_class(table, class_column, path)
    return table, (f"{note}, classes from {stated[0] if stated else class_column}.", *without)


def _with_images(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the image of each row, where the program says it elsewhere."""
    for name in ("Image", "ImageNumber"):
        several = name in table and table[name].nunique() > 1
        if several and "image" in table and table["image"].nunique() == 1:
            raise InputError(
                f"{path} has the cells of {table[name].nunique()} images, and --image names one. "
                "Leave --image out, or export a table for each image."
            )
    if "ImageNumber" not in table or "image" in table:
        return table
    listed = path.with_name(re.sub(r"[^_]*$", "", path.stem) + "Image.csv")
    if not listed.is_file():
        raise InputError(
            f"{path} names its images by numbers; their names are in CellProfiler's table of "
            f"images, {listed.name}, which is not beside it. Give the image with --image."
        )
    images = read_table_file(listed, "ImageNumber").rows
    files = [name for name in map(str, images) if name.startswith("FileName_")]
    if len(files) != 1 or "ImageNumber" not in images:
        raise InputError(
            f"{listed} names {len(files)} files for each image ({', '.join(files)}). CellCam needs "
            "one file with all channels: give it with --image."
        )
    names = dict(zip(images["ImageNumber"].map(str), images[files[0]], strict=True))
    return table.assign(image=table["ImageNumber"].map(str).map(names).fillna(""))


def _rows(cells: Cells, path: Path, class_column: str) -> pd.DataFrame:
    """One row for each cell: by its label where all have outlines, else by its centre."""
    import pandas as pd

    columns: dict[str, Any] = {class_column: list(cells.classes)}
    if cells.image.name:
        columns["image"] = cells.image.name
    stated = (cells.planes != NOT_STATED).any(axis=0)
    for name, column, is_stated in zip("tz", cells.planes.T, stated, strict=True):
        if is_stated:
            columns[name] = np.maximum(column, 0)
    if all(cells.outlines):
        columns |= {"labels": str(path.resolve()), "label": cells.numbers}
    else:
        columns |= {"x": cells.centres[:, 0] - 0.5, "y": cells.centres[:, 1] - 0.5}
    return pd.DataFrame(columns).astype(object)


def _with_class(
    table: pd.DataFrame, class_column: str, path: Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows with a class, and a note about the others."""
    # ilastik writes 0 for a cell that nobody labelled.
    has_class = ~table[class_column].isin(["", 0, "0"])
    if not has_class.any():
        raise InputError(f"No cell of {path} has a class. Give the cells classes before.")
    without = int((~has_class).sum())
    notes = (f"{without} cells of {path.name} have no class: left out.",) if without else ()
    return table[has_class], notes


def _places(
    table: pd.DataFrame,
    name: str,
    axis: str,
    program: _Program,
    path: Path,
    opened: Callable[[str], Stack],
) -> pd.Series[Any]:
    """Places in pixels from the centre of the first."""
    import pandas as pd

    numbers = pd.to_numeric(table[name].map(_with_point), errors="coerce")
    if name.endswith("µm"):
        if "image" not in table:
            raise InputError(
                f"The places of {path} are in um. Give their image, whose pixel size is needed: "
                "--image."
            )
        sizes = {image: _size(opened(str(image)), axis, path) for image in set(table["image"])}
        numbers = numbers / table["image"].map(sizes)
    # What is no number stays as it is, and is reported with its row.
    return (numbers - program.corner).astype(object).where(numbers.notna(), table[name])


def _with_point(value: object) -> object:
    """QuPath writes numbers as the computer's language does."""
    is_comma = isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value)
    return value.replace(",", ".") if is_comma and isinstance(value, str) else value


def _size(stack: Stack, axis: str, path: Path) -> float:
    size = stack.pixel_size_um.x if axis == "x" else stack.pixel_size_um.y
    if not size:
        raise InputError(
            f"The places of {path} are in um, and the pixel size of {stack.name} is unknown. "
            "Export the table in pixels, or an image that states its pixel size."
        )
    return size
