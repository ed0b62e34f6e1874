"""The forms of labelled cells: a table, folders of one class each, VOC, napari's points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError, UsageError
from cellcam.stacks.formats import file_endings

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import pandas as pd

_VOC_SETS = ("train", "val", "test")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAPARI_AXES = ("x", "y", "z", "t")  # from the last axis of a points layer to the first


def raw_table(path: Path, class_column: str, image: Path | None = None) -> pd.DataFrame:
    """Rows of a table as they are, one for each cell.

    Parameters
    ----------
    path : CSV or Parquet; the CSV that napari saves of a points layer; a folder that holds
        one folder for each class, with one image for each cell; or one in the layout of VOC
    class_column : name of the column with the class, for class folders
    image : the image that all rows are about, where no column says it

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


def voc_boxes(folder: Path, class_column: str = "cls") -> pd.DataFrame:
    """One row for each box of a folder in the layout of PASCAL VOC.

    Parameters
    ----------
    folder : with ``Annotations/*.xml``, ``JPEGImages`` and perhaps ``ImageSets/Main``

    Returns
    -------
    image (relative to the folder), the class, xmin, ymin, xmax, ymax (0-based, half-open; VOC
    counts from 1 and includes the last pixel), difficult (0 or 1) and set (train, val or test,
    else empty)

    Raises
    ------
    InputError
        If an annotation cannot be read, or none has a box.
    """
    import pandas as pd

    sets = {
        name.split()[0]: file.stem
        for file in sorted((folder / "ImageSets" / "Main").glob("*.txt"))
        if file.stem in _VOC_SETS
        for name in file.read_text("utf-8").splitlines()
        if name.strip()
    }
    rows = [
        {**box, "set": sets.get(file.stem, "")}
        for file in sorted((folder / "Annotations").glob("*.xml"))
        for box in _boxes_of(file, class_column)
    ]
    if not rows:
        raise InputError(f"{folder / 'Annotations'} holds no XML file with a box.")
    return pd.DataFrame(rows)


def _boxes_of(file: Path, class_column: str) -> Iterator[dict[str, str | int]]:
    from xml.etree import ElementTree as ET

    try:
        root = ET.parse(file).getroot()
        image = f"JPEGImages/{Path(root.findtext('filename') or f'{file.stem}.jpg').name}"
        for thing in root.iter("object"):
            corners = {name: round(float(_text(thing, f"bndbox/{name}"))) for name in _CORNERS}
            yield {
                "image": image,
                class_column: _text(thing, "name"),
                **{n: v - 1 if n.endswith("min") else v for n, v in corners.items()},
                "difficult": int(thing.findtext("difficult") or 0),
            }
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"{file} is no annotation in the form of VOC: {error}") from error


def _text(thing: Element, path: str) -> str:
    text = thing.findtext(path)
    if not text:
        raise ValueError(f"an object has no {path}")
    return text.strip()


def _class_folders(folder: Path, class_column: str) -> pd.DataFrame:
    """One row for each image, its class the name of the folder that it lies in."""
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


def _points_of_napari(table: pd.DataFrame) -> pd.DataFrame:
    """Napari's columns axis-0, axis-1, ... as z, y and x; properties stay as they are."""
    axes = [name for name in table if str(name).startswith("axis-")]
    if not 2 <= len(axes) <= len(_NAPARI_AXES):
        raise InputError(f"Points of napari have 2 to 4 axes; these have {len(axes)}.")
    renamed = table.rename(columns=dict(zip(reversed(axes), _NAPARI_AXES, strict=False)))
    # napari numbers the points in a column that means something else in a cell table.
    return renamed.drop(columns="index", errors="ignore")
