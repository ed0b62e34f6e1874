"""Formats of labelled cells: a table, a folder for each class, PASCAL VOC, napari's points."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError, UsageError
from cellcam.stacks.formats import file_endings
from cellcam_training.tables.pascal_voc import voc_boxes

if TYPE_CHECKING:
    import pandas as pd

_NAPARI_AXES = ("x", "y", "z", "t")  # from the last axis of a points layer to the first


def raw_table(path: Path, class_column: str, image: Path | None = None) -> pd.DataFrame:
    """Unchecked rows of a table, one for each cell.

    Parameters
    ----------
    path : CSV or Parquet; the CSV that napari saves of a points layer; a folder with one
        subfolder for each class and one image for each cell; or a folder in the layout of VOC
    class_column : name of the column with the class, for class folders
    image : image of all rows, for tables without a column that names it

    Raises
    ------
    InputError
        If there is no such table or it cannot be read.
    """
    import pandas as pd

    if path.is_dir():
        voc = (path / "Annotations").is_dir()
        return voc_boxes(path, class_column) if voc else _class_folders(path, class_column)
    if not path.is_file():
        raise InputError(f"There is no cell table {path}. Check the path.")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # the parsers' errors are ValueErrors
        raise InputError(f"{path} cannot be read as a CSV or Parquet table: {error}") from error
    if "axis-0" in table:
        table = _napari_points(table)
    if image is not None:
        table["image"] = str(image.resolve())
    return table


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
        column = table[name.removesuffix("!")].fillna("").astype(str)
        table = table[[fnmatchcase(text, pattern) == wanted for text in column]]
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


def _napari_points(table: pd.DataFrame) -> pd.DataFrame:
    """Rename napari's columns axis-0, axis-1, ... to z, y and x; properties are kept."""
    axes = [name for name in table if str(name).startswith("axis-")]
    if not 2 <= len(axes) <= len(_NAPARI_AXES):
        raise InputError(f"Points of napari need 2 to 4 axes; these have {len(axes)}.")
    renamed = table.rename(columns=dict(zip(reversed(axes), _NAPARI_AXES, strict=False)))
    # napari's column "index" numbers the points; in a cell table it would be a page group.
    return renamed.drop(columns="index", errors="ignore")
