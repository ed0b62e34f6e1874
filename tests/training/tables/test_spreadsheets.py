"""Excel tables, written by openpyxl cell by cell."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from openpyxl import Workbook

from cellcam import InputError

HEADER = ["file", "index", "cls"]


def read(folder: Path, *rows: list[object], book: Workbook | None = None) -> CellTable:
    """Table of an Excel file with these rows in its first sheet."""
    book = book or Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    book.save(folder / "Zellen.xlsx")
    return read_cell_table(folder / "Zellen.xlsx", to_train=False)


@pytest.mark.fault("A cell table from Excel (.xlsx)", "Read with the values that Excel shows")
def test_values_are_those_that_excel_shows(folder: Path) -> None:
    book = Workbook()
    book.create_sheet("Notizen").append(["Bitte", "nicht", "löschen"])
    rows = [HEADER, ["crops.tif", 0, 1], ["crops.tif", 1.0, "01"], [], ["crops.tif", "2", 1.5]]
    for row in [*rows, ["crops.tif", 3, "None"], ["crops.tif", 4, True]]:
        book.worksheets[0].append(row)
    book.worksheets[0].append(["crops.tif", 5, 7])
    book.worksheets[0]["C8"].number_format = "000"
    table = read(folder, book=book)
    assert table.rows["cls"].tolist() == ["1", "01", "1.5", "None", "TRUE", "007"]
    assert table.rows["index"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table.rows["row"].tolist() == [0, 1, 3, 4, 5, 6]
    assert table.notes == ()


def test_numbers_may_be_texts_with_decimal_commas(folder: Path) -> None:
    header = ["image", "x", "y", "cls"]
    table = read(folder, header, ["field.ome.tif", "12,5", 7.25, "a"])
    assert table.rows[["x", "y"]].to_numpy().tolist() == [[12.5, 7.25]]


@pytest.mark.fault(
    "A date or an error that Excel made of a class or a number", "Refused row by row, way out named"
)
def test_dates_and_errors_are_refused_by_row(folder: Path) -> None:
    rows = [["crops.tif", 0, date(2026, 2, 1)], ["crops.tif", date(2026, 1, 5), "a"]]
    with pytest.raises(InputError) as error:
        read(folder, HEADER, *rows, ["crops.tif", 1, "#N/A"])
    lines = str(error.value).splitlines()[1:]
    assert "row 2: the class is the date 2026-02-01" in lines[0]
    assert "row 3: index '2026-01-05" in lines[1]
    assert "is a date" in lines[1]
    assert "row 4: the class is #N/A" in lines[2]


def test_hidden_rows_are_noted_and_used(folder: Path) -> None:
    book = Workbook()
    book.worksheets[0].row_dimensions[3].hidden = True
    table = read(folder, HEADER, ["crops.tif", 0, "a"], ["crops.tif", 1, "b"], book=book)
    assert table.classes == ("a", "b")
    assert "1 rows are hidden" in table.notes[0]


def test_several_sheets_with_cells_are_refused_by_name(folder: Path) -> None:
    book = Workbook()
    book.create_sheet("Platte 2").append(HEADER)
    with pytest.raises(InputError, match="several sheets .* Sheet, Platte 2"):
        read(folder, HEADER, ["crops.tif", 0, "a"], book=book)


def test_the_content_decides_not_the_name(folder: Path) -> None:
    read(folder, HEADER, ["crops.tif", 0, "a"])
    (folder / "Zellen.xlsx").rename(folder / "cells.csv")
    assert read_cell_table(folder / "cells.csv", to_train=False).classes == ("a",)


@pytest.mark.fault("A title, or comments, above the header of a table", "Left out, and it is said")
def test_rows_above_the_header_are_left_out(folder: Path) -> None:
    rows = [["Cells of 2026"], [], HEADER, ["crops.tif", 0, "a"], ["crops.tif", 1, "b"]]
    table = read(folder, *rows)
    assert table.rows["cls"].tolist() == ["a", "b"]
    assert table.notes == ("A line above the header was left out of Zellen.xlsx.",)
    assert table.rows["row"].tolist() == [2, 3]  # of the sheet, from 0 below its first row
    with pytest.raises(InputError, match="row 5: no class"):
        read(folder, *rows[:4], ["crops.tif", 1, ""])


@pytest.mark.fault(
    "Cells in a hidden sheet of an Excel file", "A sheet that is shown is used first"
)
def test_a_hidden_sheet_is_used_only_without_another(folder: Path) -> None:
    book = Workbook()
    hidden = book.create_sheet("alt")
    hidden.sheet_state = "hidden"
    for row in (HEADER, ["crops.tif", 0, "old"]):
        hidden.append(row)
    shown = read(folder, HEADER, ["crops.tif", 0, "new"], book=book)
    assert (shown.classes, shown.notes) == (("new",), ())
    book.worksheets[0].delete_rows(1, 2)
    old = read(folder, book=book)
    assert (old.classes, old.notes) == (
        ("old",), ("The sheet alt is hidden in Zellen.xlsx; its cells were used.",)
    )  # fmt: skip
