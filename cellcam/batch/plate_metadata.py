"""What is known of the wells that images are of: from the images' names, and from a table.

The table is that of a plate layout: a row for each well, with treatment, dose and cell line. All
become ``Metadata_`` columns, as CellProfiler and pycytominer call them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.batch.images import metadata_of
from cellcam.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "Metadata_"
PLATE, WELL = f"{PREFIX}Plate", f"{PREFIX}Well"
# How tables call these columns, without the prefix and in lower case.
_WELLS = ("well", "well_position", "wellid", "well_id", "well position")
_PLATES = ("plate", "plate_name", "plateid", "plate_id", "assay_plate_barcode", "barcode")
_PLACE = re.compile(r"([A-Za-z]{1,2})[ _-]?0?(\d{1,2})")
_LISTED = 5


@dataclass(frozen=True)
class ImageMetadata:
    """``Metadata_`` columns of images, by their names.

    Attributes
    ----------
    pattern : see `cellcam.batch.images.metadata_of`
    columns : further columns, of the table
    rows : their values, by plate and well; the plate is empty where the table has none
    """

    pattern: str | None = None
    columns: tuple[str, ...] = ()
    rows: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, str]:
        """Columns of the image of this name; those of the table are empty for other wells."""
        stated = metadata_of(name, self.pattern)
        row = self._row(stated) or ("",) * len(self.columns)
        return stated | dict(zip(self.columns, row, strict=True))

    def check_fits(self, names: Sequence[str]) -> None:
        """Raise `UsageError` if the table has no row for any of the images."""
        facts = [metadata_of(name, self.pattern) for name in names]
        if not self.rows or any(self._row(stated) for stated in facts):
            return
        found = sorted({f"{s.get(PLATE, '')} {s[WELL]}".strip() for s in facts if s.get(WELL)})
        listed = [" ".join(key).strip() for key in self.rows]
        raise UsageError(
            f"--metadata: none of the images is of a well in the table. Images: "
            f"{_some(found) or 'no well in their names (--pattern)'}; table: {_some(listed)}."
        )

    def _row(self, stated: Mapping[str, str]) -> tuple[str, ...] | None:
        plate, well = stated.get(PLATE, ""), well_place(stated.get(WELL, ""))
        # The plate of an image is a folder, of which the table may have the last name.
        plates = (plate, plate.rpartition("/")[2], "")
        return next((self.rows[p, well] for p in plates if (p, well) in self.rows), None)


def read_plate_metadata(path: Path | None, pattern: str | None = None) -> ImageMetadata:
    """Read a table of wells: CSV, or TSV (``.tsv``, ``.txt``).

    It has a column ``Well`` (``well_position``), as ``B3`` or ``B03``, and perhaps ``Plate``, with
    or without ``Metadata_`` before them. All values are kept as texts.

    Raises
    ------
    UsageError
        If it cannot be read, names no wells, or has two rows for a well.
    """
    if path is None:
        return ImageMetadata(pattern)
    table = _table(path)
    known = {str(name).removeprefix(PREFIX).strip().lower(): name for name in table.columns}
    well = next((known[name] for name in _WELLS if name in known), None)
    plate = next((known[name] for name in _PLATES if name in known), None)
    if well is None:
        raise UsageError(
            f"--metadata {path}: no column is called Well; there are "
            f"{', '.join(map(str, table.columns))}."
        )
    places = [well_place(text) for text in table[well]]
    plates = [text.strip() for text in table[plate]] if plate is not None else [""] * len(table)
    others = [name for name in table.columns if name not in (well, plate)]
    values = table[others].itertuples(index=False, name=None)
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    for key, row in zip(zip(plates, places, strict=True), values, strict=True):
        if key in rows:
            raise UsageError(
                f"--metadata {path} has two rows for the well {' '.join(key).strip()}. Keep one, "
                "or add a column Plate."
            )
        rows[key] = row
    columns = tuple(f"{PREFIX}{str(name).removeprefix(PREFIX).strip()}" for name in others)
    return ImageMetadata(pattern, columns, rows)


def well_place(text: str) -> str:
    """A well as row and column, ``b3`` as ``B03``; other names as they are."""
    match = _PLACE.fullmatch(text.strip())
    return f"{match[1].upper()}{int(match[2]):02}" if match else text.strip()


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    separator = "\t" if path.suffix.lower() in (".tsv", ".txt") else ","
    try:
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise UsageError(f"--metadata {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"--metadata {path} is no table that can be read: {error}.") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
