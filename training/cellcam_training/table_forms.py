"""The forms that labelled cells come in: a table, folders of one class each, napari's points."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

_IMAGES = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".bmp")
_NAPARI_AXES = ("x", "y", "z", "t")  # from the last axis of a points layer to the first


def raw_table(path: Path, class_column: str, image: Path | None = None) -> pd.DataFrame:
    """Rows of a table as they are, one for each cell.

    Parameters
    ----------
    path : CSV or Parquet; the CSV that napari saves of a points layer; or a folder that holds
        one folder for each class, with one image for each cell
    class_column : name of the column with the class, for class folders
    image : the image that all rows are about, where no column says it

    Raises
    ------
    InputError
        If there is no such table or it cannot be read.
    """
    import pandas as pd

    if path.is_dir():
        return _class_folders(path, class_column)
    if not path.is_file():
        raise InputError(f"There is no cell table {path}. Check the path.")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # the parsers' own errors are ValueErrors
        raise InputError(f"{path} is no CSV or Parquet table: {error}") from error
    if "axis-0" in table:
        table = _points_of_napari(table)
    if image is not None:
        table["image"] = str(image.resolve())
    return table


def chosen_rows(table: pd.DataFrame, only: Sequence[str]) -> pd.DataFrame:
    """The rows that fulfil all conditions; their index still counts the whole table's rows.

    Parameters
    ----------
    only : ``"COLUMN=PATTERN"`` or ``"COLUMN!=PATTERN"``, with ``*``, ``?`` and ``[...]`` in
        the pattern; an empty cell of the table is the empty text

    Raises
    ------
    UsageError
        If a condition cannot be read, or names no column.
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
    """One row for each image, its class the name of the folder that it lies in."""
    import pandas as pd

    files = [
        file
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in _IMAGES and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(
            f"{folder} holds no cells: it needs one folder for each class, with one image "
            f"({', '.join(_IMAGES)}) for each cell."
        )
    names = [str(file.relative_to(folder)) for file in files]
    return pd.DataFrame({"image": names, class_column: [file.parent.name for file in files]})


def _points_of_napari(table: pd.DataFrame) -> pd.DataFrame:
    """Napari's columns axis-0, axis-1, ... as z, y and x; properties stay as they are."""
    axes = [name for name in table if str(name).startswith("axis-")]
    if not 2 <= len(axes) <= len(_NAPARI_AXES):
        raise InputError(f"Points of napari have 2 to 4 axes; these have {len(axes)}.")
    renamed = table.rename(columns=dict(zip(reversed(axes), _NAPARI_AXES, strict=False)))
    # napari numbers the points in a column that means something else in a cell table.
    return renamed.drop(columns="index", errors="ignore")
