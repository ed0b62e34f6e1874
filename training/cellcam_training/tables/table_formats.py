"""Formats of labelled cells: tables, outlines, a folder for each class, PASCAL VOC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError, UsageError
from cellcam.stacks.formats import file_endings
from cellcam.stacks.opening import open_stack
from cellcam_training.tables.foreign_tables import is_outlines, named_columns, table_of_outlines
from cellcam_training.tables.napari_points import image_path, is_points, named_axes
from cellcam_training.tables.pascal_voc import voc_boxes
from cellcam_training.tables.table_files import RawTable, read_table_file

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.stacks.stack import Stack


def raw_table(
    path: Path, class_column: str, image: Path | None = None, axes: str | None = None
) -> RawTable:
    """Unchecked rows of a table, one for each cell.

    Parameters
    ----------
    path : CSV, Excel or Parquet; the CSV that napari saves of a points layer; tables and outlines
        of other programs, see `cellcam_training.tables.foreign_tables`; a folder with one
        subfolder for each class and one image for each cell; or a folder in the layout of VOC
    class_column : name of the column with the class, for class folders
    image : image of all rows, for tables without a column that names it
    axes : of the images, where their files do not state them

    Raises
    ------
    InputError
        If there is no such table or it cannot be read.
    """
    if path.is_dir():
        voc = (path / "Annotations").is_dir()
        read = voc_boxes if voc else _class_folders
        return RawTable(read(path, class_column))
    if not path.is_file():
        raise InputError(f"There is no cell table {path}. Check the path.")
    if is_outlines(path):
        raw = RawTable(*table_of_outlines(path, class_column))
    else:
        raw = read_table_file(path, class_column)
    table, notes = raw.rows, raw.notes
    if image is not None:
        table["image"] = str(image.resolve())
    table, said = named_columns(table, class_column, path, partial(_opened, path.parent, axes))
    notes += said
    if is_points(table):
        column = image_column(table)
        table, meanings = named_axes(table, column or "", partial(_opened, path.parent, axes))
        notes += meanings
    return RawTable(table, notes, raw.decimal_comma)


def _opened(folder: Path, axes: str | None, name: str) -> Stack:
    path = image_path(folder, name)
    if not os.path.exists(path):
        raise InputError(f"There is no image {path}; paths are relative to the table.")
    return open_stack(path, axes=axes)


def image_column(table: pd.DataFrame) -> str | None:
    """Column that names the images; None without one."""
    return next((name for name in ("image", "file") if name in table), None)


def filtered_rows(table: pd.DataFrame, only: Sequence[str]) -> pd.DataFrame:
    """Rows that fulfil all conditions; the index still counts the rows of the whole table.

    Parameters
    ----------
    only : ``"COLUMN=PATTERN"`` or ``"COLUMN!=PATTERN"``, with ``*``, ``?`` and ``[...]`` in
        the pattern; an empty cell of the table is the empty text

    Raises
    ------
    UsageError
        If a condition cannot be read, or names a column that is not in the table.
    """
    for condition in only:
        name, sign, pattern = condition.partition("=")
        if not sign or name.removesuffix("!") not in table:
            raise UsageError(
                f"--only {condition!r}: write COLUMN=PATTERN or COLUMN!=PATTERN with one of the "
                f"columns {', '.join(table.columns)}."
            )
        wanted = not name.endswith("!")
        column = table[name.removesuffix("!")].map(str)
        fits = [text == pattern or fnmatchcase(text, pattern) for text in column]
        table = table[[fit == wanted for fit in fits]]
    return table


def _class_folders(folder: Path, class_column: str) -> pd.DataFrame:
    """One row for each image; its class is the name of its folder."""
    import pandas as pd

    files = [
        file
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in file_endings() and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(
            f"{folder} holds no cells: it needs one folder for each class, with one image "
            f"({', '.join(file_endings())}) for each cell."
        )
    names = [str(file.relative_to(folder)) for file in files]
    return pd.DataFrame({"image": names, class_column: [file.parent.name for file in files]})
