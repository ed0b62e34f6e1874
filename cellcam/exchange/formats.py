"""The formats of other programs' cells: their endings, and the functions that read and write each.

A format is an entry of `FORMATS` and a file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellcam.exchange.cells import Cells

# Cells of one image, cells of several images, or a label image with any axes.
Contents: TypeAlias = Cells | list[Cells] | NDArray[np.generic]


@dataclass(frozen=True)
class CellFormat:
    """One format of files of cells.

    Attributes
    ----------
    name : for people
    endings : in lower case, with their dot
    reader, writer : ``"module:function"``, imported when used; empty where there is none
    """

    name: str
    endings: tuple[str, ...]
    reader: str = ""
    writer: str = ""

    def read(self, path: Path) -> Contents:
        """What a file holds; `InputError` if it cannot be read."""
        function: Callable[[Path], Contents] = resolve_name(self.reader)
        return function(path)

    def write(self, cells: Cells, target: Path) -> None:
        """Write the cells of one image to a file."""
        function: Callable[[Cells, Path], None] = resolve_name(self.writer)
        function(cells, target)


_HERE = "cellcam.exchange"
FORMATS = (
    CellFormat(
        "QuPath GeoJSON",
        (".geojson",),
        f"{_HERE}.qupath:read_geojson",
        f"{_HERE}.qupath:write_geojson",
    ),
    CellFormat(
        "ROIs of ImageJ",
        (".zip", ".roi"),
        f"{_HERE}.imagej:read_rois",
        f"{_HERE}.imagej:write_rois",
    ),
    CellFormat("COCO", (".json",), f"{_HERE}.coco:read_json", f"{_HERE}.coco:write_coco"),
    CellFormat(
        "napari's shapes",
        (".csv",),
        f"{_HERE}.napari_shapes:read_shapes",
        f"{_HERE}.napari_shapes:write_shapes",
    ),
    CellFormat("NumPy and Cellpose", (".npy",), f"{_HERE}.npy:read_npy"),
)


def reading_format(path: Path) -> CellFormat | None:
    """Format by which the outlines in a file are read; None if it is none of them."""
    return next((known for known in FORMATS if known.reader and _fits(path, known)), None)


def writing_format(path: Path) -> CellFormat | None:
    """Format of a file to write; None if it is none of them."""
    return next((known for known in FORMATS if known.writer and _fits(path, known)), None)


def written_endings() -> tuple[str, ...]:
    """Endings of all formats that can be written."""
    return tuple(ending for known in FORMATS if known.writer for ending in known.endings)


def _fits(path: Path, known: CellFormat) -> bool:
    return path.name.lower().endswith(known.endings)
