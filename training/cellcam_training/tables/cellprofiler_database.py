"""Cells of an SQLite database that CellProfiler's ExportToDatabase writes.

A table of objects (``MyExpt_Per_Object``, or one for each kind such as ``MyExpt_Per_Nuclei``)
holds places, a table of images (``MyExpt_Per_Image``) the files and ``Metadata``. CellProfiler
Analyst adds tables of classes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from cellcam.errors import InputError
from cellcam_training.tables.spreadsheets import Sheet, Value

DATABASE = b"SQLite format 3\0"
_IMAGE, _OBJECT = "ImageNumber", "ObjectNumber"
_PLACES = ("Location_Center_X", "Location_Center_Y")
_FILE, _METADATA = "Image_FileName_", "Image_Metadata_"
_MOST_ROWS = 10**8

Columns = Mapping[str, Sequence[str]]


def read_database(path: Path) -> Sheet:
    """Cells of all images, with the columns of CellProfiler's CSV files.

    Of several kinds of objects with places the first is read. Each cell has the image's file,
    where it is a single one, its ``Metadata`` and its class, where a table says one.

    Raises
    ------
    InputError
        If the file is damaged, or holds no table of objects with places.
    """
    with _opened(path) as database:
        columns = _columns_of_tables(database)
        objects, kind = _objects(columns, path)
        number = next(n for n in (f"{kind}Number_Object_Number", _OBJECT) if n in columns[objects])
        wanted = {_IMAGE: _IMAGE, number: _OBJECT, **{f"{kind}{name}": name for name in _PLACES}}
        rows = _selected(database, objects, list(wanted))
        header = list(wanted.values())
        images, of_image = _images(database, columns)
        classes, of_object = _classes(database, columns)
        nowhere: list[Value] = [""] * len(images)
        records = [[*row, *of_image.get(row[0], nowhere)] for row in rows]
        if classes:
            for record in records:
                record.append(of_object.get((record[0], record[1]), ""))
    named = kind.rstrip("_") or "its objects"
    note = f"{path.name} is a database of CellProfiler: {objects}, places of {named}."
    return Sheet([*header, *images, *classes], records, list(range(len(records))), (note,))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, which is not written and whose own code does not run."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as an SQLite database: {error}. Export it again."
        ) from error


def _columns_of_tables(database: sqlite3.Connection) -> Columns:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'"
    names = [str(name) for (name,) in database.execute(query)]
    return {
        name: [row[1] for row in database.execute(f"PRAGMA table_info({_quoted(name)})")]
        for name in names
    }


def _objects(columns: Columns, path: Path) -> tuple[str, str]:
    """Table of objects, and what stands before the names of its columns, such as ``Nuclei_``."""
    for table, names in columns.items():
        for name in names:
            kind = name.removesuffix(_PLACES[0])
            has_number = _OBJECT in names or f"{kind}Number_Object_Number" in names
            if kind != name and f"{kind}{_PLACES[1]}" in names and _IMAGE in names and has_number:
                return table, kind
    raise InputError(
        f"{path} holds no table of CellProfiler with {_IMAGE}, {_OBJECT} and {_PLACES[0]} "
        f"(its tables: {', '.join(columns) or 'none'}). Export the objects with their location."
    )


def _images(
    database: sqlite3.Connection, columns: Columns
) -> tuple[list[str], dict[Value, list[Value]]]:
    """Columns of images, and their values by the image's number."""
    for table, names in columns.items():
        files = [name for name in names if name.startswith(_FILE)]
        if _IMAGE in names and files:
            known = {
                name: name.removeprefix("Image_") for name in names if name.startswith(_METADATA)
            }
            if len(files) == 1:
                known[files[0]] = "image"
            rows = _selected(database, table, [_IMAGE, *known])
            return list(known.values()), {row[0]: list(row[1:]) for row in rows}
    return [], {}


def _classes(
    database: sqlite3.Connection, columns: Columns
) -> tuple[list[str], dict[tuple[Value, ...], Value]]:
    """Column of classes, empty if no table says any, and their values by image and object."""
    for table, names in columns.items():
        if {_IMAGE, _OBJECT, "class"} <= set(names):
            rows = _selected(database, table, [_IMAGE, _OBJECT, "class"])
            return ["class"], {row[:2]: row[2] for row in rows}
    return [], {}


def _selected(
    database: sqlite3.Connection, table: str, names: Sequence[str]
) -> list[tuple[Value, ...]]:
    """Values of these columns; nothing is the empty text."""
    listed = ", ".join(map(_quoted, names))
    found = database.execute(f"SELECT {listed} FROM {_quoted(table)} LIMIT {_MOST_ROWS}")
    return [tuple("" if value is None else value for value in row) for row in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
