"""Any mixture of delimiter, encoding, decimal mark, quotation and line end is read alike."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.tables.cell_table import read_cell_table
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialects import Dialect

from cellcam import InputError

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16-le-bom", "utf-16-be-bom", "utf-16-le", "utf-16-be")
dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from([*ENCODINGS, "cp1252"]),
    decimal=st.sampled_from([".", ","]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    quoted=st.booleans(),
    spaces=st.sampled_from(["", " "]),
    separator_line=st.booleans(),
)
# Names that spreadsheets and readers of tables like to change; in Windows-1252 too.
class_names = st.sampled_from(
    ["None", "NA", "nan", "null", "01", "1", "1.0", "TRUE", "1-2", "Größe", "G1", "S/G2", "a,b;c"]
) | st.text("abcXYZ019 ,;|\t\"'.-+=äöüß", min_size=1).map(" ".join).map(
    lambda text: " ".join(text.split())
).filter(lambda text: bool(text) and not (text.startswith('="') and text.endswith('"')))
# Halves and quarters: exact, and no decimal part has three digits, which may be thousands.
places = st.integers(40, 3960).map(lambda quarters: quarters / 4)
cells = st.lists(st.tuples(places, places, class_names), min_size=1, max_size=12)


@pytest.mark.fault(
    "A table with semicolons, tabs, bars, UTF-16, Windows-1252, decimal commas, sep=",
    "Recognised; read as the same cells",
)
@settings(max_examples=150)
@given(dialects, cells)
def test_any_mixture_of_dialects_is_read_alike(
    dialect: Dialect, drawn: list[tuple[float, float, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tifffile.imwrite(Path(folder) / "Zellen ä.tif", np.zeros((9, 9), np.uint8))
        # Distinct images would be needed for cells at one place: the first counts.
        seen: list[tuple[float, float, str]] = []
        for x, y, name in drawn:
            if all(max(abs(x - a), abs(y - b)) > 2 for a, b, _ in seen):
                seen.append((x, y, name))
        rows = [["Zellen ä.tif", x, y, name, "µ"] for x, y, name in seen]
        path = Path(folder) / "cells.csv"
        path.write_bytes(dialect.written(["image", "x", "y", "cls", "Einheit"], rows))
        table = read_cell_table(path, to_train=False)
    assert table.place == "centre"
    assert table.rows["cls"].tolist() == [name for _, _, name in seen]
    assert table.rows[["x", "y"]].to_numpy(float).tolist() == [[x, y] for x, y, _ in seen]
    assert [Path(name).name for name in table.rows["image"]] == ["Zellen ä.tif"] * len(seen)
    assert table.rows["row"].tolist() == list(range(len(seen)))


def read(folder: Path, text: str, encoding: str = "utf-8") -> list[str]:
    """Classes of a table that is written like this."""
    (folder / "cells.csv").write_bytes(text.encode(encoding))
    return read_cell_table(folder / "cells.csv", to_train=False).rows["cls"].tolist()


@pytest.mark.fault("Classes named None, NA, null, nan or 01", "They are classes, as they stand")
def test_only_an_empty_value_is_no_class(folder: Path) -> None:
    names = ["None", "NA", "null", "nan", "N/A", "01", "1", "#N/A", "<NA>"]
    rows = "".join(f"crops.tif,{i % 6},{name}\n" for i, name in enumerate(names[:6]))
    assert read(folder, f"file,index,cls\n{rows}") == names[:6]
    rows = "".join(f"crops.tif,{i},{name}\n" for i, name in enumerate(names[6:]))
    assert read(folder, f"file,index,cls\n{rows}") == names[6:]
    with pytest.raises(InputError, match="row 3: no class"):
        read(folder, "file,index,cls\ncrops.tif,0,a\ncrops.tif,1,  \n")


@pytest.mark.fault(
    "Outer, doubled, no-break or zero-width spaces, or accents in two forms, in class names",
    "One class",
)
def test_names_that_look_alike_are_one_class(folder: Path) -> None:
    names = ["G é", " G é", "G é ", "G\u00a0é", "G e\u0301", "\u200bG é"]
    rows = "".join(f'crops.tif,{i},"{name}"\n' for i, name in enumerate(names))
    assert set(read(folder, f"file,index,cls\n{rows}")) == {"G é"}


def test_empty_rows_and_columns_of_a_spreadsheet_are_left_out_but_counted(folder: Path) -> None:
    text = "\ufeff;;;;\nfile;index;cls;;\ncrops.tif;0;a;;\n;;;;\ncrops.tif;9;b\n"
    (folder / "cells.csv").write_bytes(text.encode())
    table = read_cell_table(folder / "cells.csv", to_train=False)
    assert table.rows["row"].tolist() == [1, 3]
    assert table.rows["cls"].tolist() == ["a", "b"]


@pytest.mark.fault(
    "A comma too many: a decimal comma, or a comma in a name, in a table with commas",
    "Refused row by row, with the way out",
)
def test_rows_longer_than_the_header_are_refused_row_by_row(folder: Path) -> None:
    with pytest.raises(InputError, match="quotation marks") as error:
        read(folder, "image,x,y,cls\nfield.ome.tif,1,5,2,5,a\nfield.ome.tif,3,4,b\na,1,2,3,4,5\n")
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == ["row 2", "row 4"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12,5", "1234,75", "7"], [12.5, 1234.75, 7]),
        (["0,125", "3"], [0.125, 3]),  # no thousands begin with 0
        (["1.234,5", "2.000", "17"], [1234.5, 2000, 17]),
        (["1,234.5", "2,000", "17"], [1234.5, 2000, 17]),
        (["1e2", "2.5E1", "\u22120.25"], [100, 25, -0.25]),
        ([".5", "3."], [0.5, 3]),
    ],
)
def test_the_decimal_mark_is_recognised_where_it_is_certain(
    folder: Path, values: list[str], expected: list[float]
) -> None:
    rows = "".join(f"field.ome.tif;{x};{100 * i};a\n" for i, x in enumerate(values))
    (folder / "cells.csv").write_text(f"image;x;y;cls\n{rows}", "utf-8")
    table = read_cell_table(folder / "cells.csv", to_train=False)
    assert table.rows["x"].tolist() == expected


@pytest.mark.fault(
    "Numbers that may be thousands (1,234), mixed decimal marks, or no numbers",
    "Refused row by row with column and value; never guessed",
)
@pytest.mark.parametrize(
    ("values", "row", "message"),
    [
        (["1,234", "12"], 2, "x '1,234' may be a thousand times"),
        (["1.234", "12"], 2, "x '1.234' may be a thousand times"),
        (["12,5", "12,25", "7.5"], 4, "x '7.5' has a decimal point"),
        (["12.5", "1,234"], 3, "x '1,234' may be a thousand times"),
        (["1", "abc"], 3, "x 'abc' is not a number"),
        (["1", "12 px"], 3, "x '12 px' is not a number"),
        (["1", "nan"], 3, "x 'nan' is not a number"),
        (["1", "inf"], 3, "x 'inf' is not a number"),
        (["1", "1e999"], 3, "x '1e999' is too large"),
        (["1", ""], 3, "x is empty"),
        (["1", "\uff11\uff12"], 3, "is not a number"),
    ],
)
def test_doubtful_numbers_are_refused_by_row_and_column(
    folder: Path, values: list[str], row: int, message: str
) -> None:
    rows = "".join(f"field.ome.tif;{x};{100 * i};a\n" for i, x in enumerate(values))
    with pytest.raises(InputError, match=f"row {row}: ") as error:
        read(folder, f"image;x;y;cls\n{rows}")
    assert message in str(error.value)


def test_whole_numbers_may_have_a_decimal_part_of_zeros_only(folder: Path) -> None:
    assert read(folder, "file;index;cls\ncrops.tif;1,0;a\ncrops.tif;2;b\n") == ["a", "b"]
    with pytest.raises(InputError, match="row 3: index '2,5' is not a whole number"):
        read(folder, "file;index;cls\ncrops.tif;1,0;a\ncrops.tif;2,5;b\n")


@pytest.mark.fault(
    "Text in another encoding than UTF-8 or Western European",
    "Refused with the way out, or read with a note of the words to look at",
)
def test_other_encodings_are_noted_or_refused(folder: Path) -> None:
    text = "file;index;cls\ncrops.tif;0;Zelle groß\ncrops.tif;1;b\n"
    (folder / "cells.csv").write_bytes(text.encode("cp1252"))
    table = read_cell_table(folder / "cells.csv", to_train=False)
    assert table.classes == ("Zelle groß", "b")
    assert "Windows-1252" in table.notes[0]
    assert "groß" in table.notes[0]
    for encoding, word in (("cp1251", "клетка"), ("gbk", "细胞"), ("shift_jis", "細胞核")):
        with pytest.raises(InputError, match="Save it as CSV in UTF-8"):
            read(folder, f"file;index;cls\ncrops.tif;0;{word}\ncrops.tif;1;b\n", encoding)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'file,index,cls\ncrops.tif,0,"a\n', "quotation mark"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "old format"),
        (b"%PDF-1.7", "a PDF"),
        (b"II*\0" + bytes(60), "a TIFF image"),
        (b"PK\x03\x04" + bytes(60), "Excel file"),
        (b"PAR1" + bytes(60), "Parquet"),
        (b"\x1f\x8b" + bytes(9), "damaged gzip"),
        (b"file,index,cls\ncrops.tif,0,a\0b\n", "no text"),
        (b"\xff\xfea", "is damaged"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "cells.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_cell_table(tmp_path / "cells.csv")


@pytest.mark.fault(
    "An image name that is too long, holds a zero byte or leads nowhere", "Refused row by row"
)
@pytest.mark.parametrize("name", ["x" * 5000 + ".tif", "a\\b.tif", "é" * 300, "../no.tif", "."])
def test_names_that_no_file_can_have_are_refused_by_row(tmp_path: Path, name: str) -> None:
    text = f"image,x,y,cls\n{name},1,2,a\n{name},9,9,a\n"
    with pytest.raises(InputError, match="row 2: there is no file"):
        read(tmp_path, text)
    with pytest.raises(InputError, match="no (image|file)|is a folder"):
        read(tmp_path, f"image,axis-0,axis-1,axis-2,cls\n{name},1,2,3,a\n")


def test_paths_of_windows_are_understood(folder: Path) -> None:
    (folder / "Platte 1").mkdir()
    (folder / "crops.tif").rename(folder / "Platte 1" / "crops.tif")
    assert read(folder, "file,index,cls\nPlatte 1\\crops.tif,0,a\n") == ["a"]


@pytest.mark.fault("A title, or comments, above the header of a table", "Left out, and it is said")
@pytest.mark.parametrize("above", ["# made by a program\n# x, y in pixels\n", "Cells, of 2026\n\n"])
@pytest.mark.parametrize("mark", ["", "#", "# "])
def test_lines_above_the_header_are_left_out(folder: Path, above: str, mark: str) -> None:
    path = folder / "cells.csv"
    path.write_text(f"{above}{mark}file;index;cls\ncrops.tif;0;a\ncrops.tif;1;\n")
    with pytest.raises(InputError, match="row 5: no class"):
        read_cell_table(path, to_train=False)
    path.write_text(path.read_text().replace("1;", "1;b"))
    table = read_cell_table(path, to_train=False)
    assert table.rows["cls"].tolist() == ["a", "b"]
    assert "above the header" in table.notes[0]


@pytest.mark.fault("Classes that are one number, written as 1 and 1.0", "A warning names both")
def test_numbers_written_in_two_ways_have_a_warning(folder: Path) -> None:
    path = folder / "cells.csv"
    path.write_text("file,index,cls\ncrops.tif,0,1\ncrops.tif,1,1.0\ncrops.tif,2,1.5\n")
    table = read_cell_table(path, to_train=False)
    assert table.classes == ("1", "1.0", "1.5")
    assert "The classes 1 and 1.0 are the same number. Are they one class?" in table.warnings
