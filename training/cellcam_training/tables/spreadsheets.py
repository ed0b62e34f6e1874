"""Cell tables in Excel files."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from cellcam.errors import InputError
from cellcam_training.tables.delimited_text import about_lines_above, header_row

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

# A sheet of a million rows unpacks to less.
_MOST_BYTES = 2**31
_DAMAGED = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, EOFError),
    *(OSError, RuntimeError, ParseError, zipfile.BadZipFile, zlib.error),
)
_DATES = (date, datetime, time, timedelta)


@dataclass(frozen=True)
class ExcelDate:
    """A date in a spreadsheet, where Excel may have made it of a text such as 1-2."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ExcelError:
    """An error such as ``#N/A`` that a spreadsheet shows instead of a value."""

    text: str

    def __str__(self) -> str:
        return self.text


Value = str | int | float | ExcelDate | ExcelError


@dataclass(frozen=True)
class Sheet:
    """Values of the sheet with the cells; empty ones are the empty text.

    Attributes
    ----------
    header : names of the columns
    records : values below, as many in each record as the header has
    numbers : of each record in the sheet, counted from 0 below its first row
    notes : facts about the file that the user must know
    """

    header: list[str]
    records: list[list[Value]]
    numbers: list[int]
    notes: tuple[str, ...] = ()


def read_excel(path: Path, wanted: str) -> Sheet:
    """Read the sheet of an Excel file (.xlsx) that holds the cells.

    Parameters
    ----------
    wanted : column by which the sheet is found, if several have content

    Raises
    ------
    InputError
        If the file is damaged, or several sheets could be meant.
    """
    from openpyxl import load_workbook

    try:
        _check_size(path)
        # openpyxl warns of styles and validations, which are not needed, and judges a file by its
        # name, but not an open file.
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            book = load_workbook(file, data_only=True)
        sheets = [_sheet(sheet, path, wanted) for sheet in book.worksheets]
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(
            f"{path} cannot be read as an Excel file: {error}. Save it again as .xlsx or CSV."
        ) from error
    titles = [sheet.title for sheet in book.worksheets]
    filled = [(title, sheet) for title, sheet in zip(titles, sheets, strict=True) if sheet.header]
    if not filled:
        raise InputError(f"{path} is empty. A cell table has a header and one row for each cell.")
    fitting = [pair for pair in filled if wanted in pair[1].header] or filled
    seen = [pair for pair in fitting if book[pair[0]].sheet_state == "visible"]
    fitting = seen or fitting
    if len(fitting) > 1:
        raise InputError(
            f"{path} has several sheets that could be meant: {', '.join(t for t, _ in fitting)}. "
            "Keep the cells in one sheet, or save that sheet as a file of its own."
        )
    title, chosen = fitting[0]
    note = f"The sheet {title} is hidden in {path.name}; its cells were used."
    return chosen if seen else replace(chosen, notes=(*chosen.notes, note))


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_BYTES:
        raise InputError(
            f"{path} would unpack to {size / 1e9:.1f} GB, more than any table. Save it as CSV."
        )


def _sheet(sheet: Worksheet, path: Path, wanted: str) -> Sheet:
    rows = [[_value(cell) for cell in row] for row in sheet.iter_rows()]
    first = header_row(rows, wanted)
    if first is None:
        return Sheet([], [], [])
    header = [str(value) for value in rows[first]]
    while header and header[-1] == "":
        header.pop()
    body = [row[: len(header)] for row in rows]
    numbers = [i for i in range(first, len(rows) - 1) if any(v != "" for v in body[i + 1])]
    hidden = [i for i in numbers if sheet.row_dimensions[i + 2].hidden]
    above = about_lines_above(rows[:first], path)
    note = (
        f"{len(hidden)} rows are hidden in the sheet {sheet.title} (by a filter?); they are used "
        "as well. --only leaves rows out."
    )
    records = [body[i + 1] for i in numbers]
    return Sheet(header, records, numbers, (*above, *((note,) if hidden else ())))


def _value(cell: Cell) -> Value:
    """The value of a cell as a table shows it."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "e":
        return ExcelError(str(value))
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, _DATES):
        return ExcelDate(str(value))
    if isinstance(value, int | float):
        whole = int(value) if float(value).is_integer() else value
        # A format of zeros, such as 000, shows the number 1 as 001.
        zeros = isinstance(cell.number_format, str) and re.fullmatch("0{2,}", cell.number_format)
        return str(whole).zfill(len(cell.number_format)) if zeros else whole
    return str(value).strip()
