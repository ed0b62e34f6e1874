"""Boxes from a folder in the layout of PASCAL VOC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import pandas as pd

_SETS = ("train", "val", "test")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_boxes(folder: Path, class_column: str = "cls") -> pd.DataFrame:
    """One row for each box of a folder in the layout of PASCAL VOC.

    Parameters
    ----------
    folder : with ``Annotations/*.xml``, ``JPEGImages`` and perhaps ``ImageSets/Main``

    Returns
    -------
    image (relative to the folder), the class, xmin, ymin, xmax, ymax (0-based, half-open; VOC
    counts from 1 and includes the last pixel), difficult (0 or 1) and set (train, val, test or
    empty)

    Raises
    ------
    InputError
        If an annotation cannot be read, or none has a box.
    """
    import pandas as pd

    sets = {
        name.split()[0]: file.stem
        for file in sorted((folder / "ImageSets" / "Main").glob("*.txt"))
        if file.stem in _SETS
        for name in file.read_text("utf-8").splitlines()
        if name.strip()
    }
    rows = [
        {**box, "set": sets.get(file.stem, "")}
        for file in sorted((folder / "Annotations").glob("*.xml"))
        for box in _boxes_of_file(file, class_column)
    ]
    if not rows:
        raise InputError(f"{folder / 'Annotations'} holds no XML file with a box.")
    return pd.DataFrame(rows)


def _boxes_of_file(file: Path, class_column: str) -> Iterator[dict[str, str | int]]:
    from xml.etree import ElementTree as ET

    try:
        root = ET.parse(file).getroot()
        image = f"JPEGImages/{Path(root.findtext('filename') or f'{file.stem}.jpg').name}"
        for element in root.iter("object"):
            corners = {name: round(float(_text(element, f"bndbox/{name}"))) for name in _CORNERS}
            yield {
                "image": image,
                class_column: _text(element, "name"),
                **{n: v - 1 if n.endswith("min") else v for n, v in corners.items()},
                "difficult": int(element.findtext("difficult") or 0),
            }
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"{file} is not a PASCAL VOC annotation: {error}") from error


def _text(element: Element, path: str) -> str:
    text = element.findtext(path)
    if not text:
        raise ValueError(f"an object has no {path}")
    return text.strip()
