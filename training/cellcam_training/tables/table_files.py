"""The file of a cell table, recognised by its content: text, Excel, Parquet or a database."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellcam.errors import InputError, UsageError, how_to_install
from cellcam_training.tables.cellprofiler_database import DATABASE, read_database
from cellcam_training.tables.delimited_text import read_text
from cellcam_training.tables.spreadsheets import Sheet, read_excel

if TYPE_CHECKING:
    import pandas as pd

_PARQUET, _ZIP, _GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"
# What an .ods begins with, in its first bytes.
_OPEN_DOCUMENT, _BEGIN = b"application/vnd.oasis.opendocument", 200
# First bytes of files that people take for tables, and what to do with them.
_OTHERS = {
    b"\xd0\xcf\x11\xe0": "an Excel file of the old format (.xls), or one with a password. Save it "
    "as .xlsx without a password",
    b"%PDF": "a PDF. Export the table itself as CSV or .xlsx",
    b"\x89HDF": "an HDF5 file. Export the table as CSV or Parquet",
    b"II*\0": "a TIFF image. Give the table with --image for its image",
    b"MM\0*": "a TIFF image. Give the table with --image for its image",
    b"\x93NUMPY": "a NumPy array. Write the table as CSV or Parquet",
    b"<": "a web page or XML, not a table. Export the table itself as CSV or .xlsx",
    b"{\\rtf": "a text document. Save the table as CSV or .xlsx",
}
_MOST_BYTES, _MOST_ROWS = 2**31, 10**8


@dataclass(frozen=True)
class RawTable:
    """Unchecked rows of a cell table.

    Attributes
    ----------
    rows : texts, and the numbers of formats that know numbers; nothing is the empty text. The
        index numbers the rows of the file, counted from 0 below its first.
    notes : facts about the file that the user must know
    decimal_comma : whether the file is of a kind that goes with decimal commas
    """

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
    decimal_comma: bool = False


def read_table_file(path: Path, wanted: str) -> RawTable:
    """Read a table; its content decides on its format, not its name.

    Parameters
    ----------
    wanted : column that the table should have; it decides between delimiters and sheets

    Raises
    ------
    InputError
        If it cannot be read as a table.
    """
    try:
        with open(path, "rb") as file:
            is_database = file.read(len(DATABASE)) == DATABASE  # larger than memory, maybe
        content = b"" if is_database else path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if is_database:
        sheet = read_database(path)
        return RawTable(_frame(sheet.header, sheet.records, sheet.numbers), sheet.notes)
    if content.startswith(_PARQUET):
        return RawTable(_parquet(path))
    if _OPEN_DOCUMENT in content[:_BEGIN]:
        raise InputError(f"{path} is an OpenDocument table (.ods). Save it as .xlsx or CSV.")
    if content.startswith(_ZIP):
        sheet = _excel(path, wanted)
        return RawTable(_frame(sheet.header, sheet.records, sheet.numbers), sheet.notes)
    for start, what in _OTHERS.items():
        if content.startswith(start):
            raise InputError(f"{path} is {what}.")
    text = read_text(_unpacked(content, path), path, wanted)
    rows = _frame(text.header, text.records, text.numbers)
    return RawTable(rows, text.notes, decimal_comma=text.delimiter == ";")


def _excel(path: Path, wanted: str) -> Sheet:
    try:
        return read_excel(path, wanted)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{path} is an Excel file, which needs the package {error.name}: "
            f"{how_to_install('train')} brings it. Or save the table as CSV."
        ) from error


def _unpacked(content: bytes, path: Path) -> bytes:
    """The content, unpacked if it is gzipped."""
    import io

    if not content.startswith(_GZIP):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            unpacked = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}.") from error
    if len(unpacked) > _MOST_BYTES:
        raise InputError(f"{path} would unpack to more than 2 GB, more than any table.")
    return unpacked


def _parquet(path: Path) -> pd.DataFrame:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            n = file.metadata.num_rows
            if n > _MOST_ROWS:
                raise InputError(f"{path} states {n} rows, more than any cell table.")
            # What pandas noted about its own table is not needed, and may be damaged.
            table = file.read().to_pandas(ignore_metadata=True)
    except (ArrowException, ValueError, OSError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a Parquet table: {error}") from error
    names = [str(name).strip() for name in table.columns]
    columns = [_column(table.iloc[:, i]) for i in range(len(names))]
    return _frame(names, list(zip(*columns, strict=True)), range(len(table)))


def _column(values: pd.Series[Any]) -> list[object]:
    """Values of a Parquet column; missing ones are the empty text."""
    missing = values.isna().to_numpy()
    return [
        "" if gone else _plain(value)
        for value, gone in zip(values.astype(object), missing, strict=True)
    ]


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).strip()
    return int(value) if float(value).is_integer() else value


def _frame(
    header: Sequence[str], records: Sequence[Sequence[object]], numbers: Sequence[int]
) -> pd.DataFrame:
    """Table with distinct names of columns; nameless columns without values are left out."""
    import pandas as pd

    seen: Counter[str] = Counter()
    names = []
    for i, name in enumerate(header):
        seen[name] += 1
        named = name or f"column {i + 1}"
        names.append(f"{named} ({seen[name]})" if name and seen[name] > 1 else named)
    table = pd.DataFrame(list(records), columns=names, index=list(numbers), dtype=object)
    empty = [
        named
        for named, name in zip(names, header, strict=True)
        if not name and (table[named] == "").all()
    ]
    return table.drop(columns=empty)
