"""Tables in text files as spreadsheets and programs of all countries write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cellcam.errors import InputError

_DELIMITERS = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Part of the bytes at even or odd places that are zero in UTF-16 of European languages.
_ZEROS, _LOOKED_AT = 0.3, 4096
_MOST_LISTED = 20
# Python's limit of 131,072 characters protects against nothing: a field is in memory already.
_LONGEST_FIELD = 2**20
# Lines among which the header is looked for.
_MOST_ABOVE = 20
# Besides ASCII: quotation marks, dashes, ellipsis and the sign of the euro.
_BETWEEN_WORDS = re.compile(
    r"[\s,;|\"'()\[\]/\\_.:+\-\u201c-\u201e\u2018-\u201a\u2013\u2014\u2026\u20ac]+"
)
# Outer characters that nobody sees: besides white space, marks of byte order and zero-width ones.
_UNSEEN = "\ufeff\u200b\u200c\u200d\u2060"


@dataclass(frozen=True)
class TableText:
    """Records of a text file; outer spaces of all values are gone.

    Attributes
    ----------
    header : names of the columns
    records : values, as many in each record as the header has
    numbers : of each record in the file, counted from 0 below its first line
    delimiter : between the values
    notes : facts about the file that the user must know
    """

    header: list[str]
    records: list[list[str]]
    numbers: list[int]
    delimiter: str
    notes: tuple[str, ...] = ()


def read_text(content: bytes, path: Path, wanted: str) -> TableText:
    """Read a table with commas, semicolons, tabs or bars between its values.

    Parameters
    ----------
    content : of the file, in UTF-8, UTF-16, UTF-32 or Windows-1252
    path : of the file, for messages
    wanted : column that decides between delimiters

    Raises
    ------
    InputError
        If this is no text, or records do not fit the header: row by row.
    """
    text, notes = _decoded(content, path)
    lines = _without_separator_line(text)
    delimiter = _delimiter(lines, wanted)
    records = _records(lines, delimiter, path)
    first = header_row(records, wanted)
    if first is None:
        raise InputError(f"{path} is empty. A cell table has a header and one row for each cell.")
    header = [records[first][0].lstrip("# "), *records[first][1:]]
    numbers = [i for i, record in enumerate(records[first + 1 :], first) if any(record)]
    return TableText(
        header,
        _fitted([records[i + 1] for i in numbers], numbers, header, path),
        numbers,
        delimiter,
        (*notes, *about_lines_above(records[:first], path)),
    )


def header_row(records: Sequence[Sequence[object]], wanted: str) -> int | None:
    """Number of the header: the row with the wanted column, below a title or comments.

    Else the first row with a value; None without any.
    """
    filled = [i for i, record in enumerate(records) if any(value != "" for value in record)]
    titled = (i for i in filled[:_MOST_ABOVE] if wanted in _names_of(records[i]))
    return next(titled, filled[0] if filled else None)


def about_lines_above(records: Sequence[Sequence[object]], path: Path) -> tuple[str, ...]:
    """Note of what stands above a header."""
    filled = sum(any(value != "" for value in record) for record in records)
    if not filled:
        return ()
    what = "A line above the header was" if filled == 1 else f"{filled} lines above the header were"
    return (f"{what} left out of {path.name}.",)


def _names_of(record: Sequence[object]) -> list[str]:
    names = list(map(str, record))
    return [names[0].lstrip("# "), *names[1:]]


def _decoded(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _strictly(content, name, path), ()
    unmarked = _utf16_without_mark(content)
    if unmarked:
        return _strictly(content, unmarked, path), ()
    if b"\0" in content:
        raise InputError(f"{path} is no text. Save the table as CSV, Excel (.xlsx) or Parquet.")
    try:
        return content.decode("utf-8"), ()
    except UnicodeDecodeError:
        return _western(content, path)


def _strictly(content: bytes, encoding: str, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is damaged: it begins as {encoding.upper()} text, but {error.reason} at byte "
            f"{error.start}. Save it again as CSV in UTF-8."
        ) from error


def _utf16_without_mark(content: bytes) -> str | None:
    """Encoding of UTF-16 text without a mark of its byte order, by where its zeros are."""
    start = content[:_LOOKED_AT]
    if len(start) < 4:
        return None
    even, odd = (part.count(0) / len(part) for part in (start[::2], start[1::2]))
    if odd > _ZEROS and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > _ZEROS and odd == 0 else None


def _western(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """Text in Windows-1252, with a note of its words with special characters."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    words = set(_BETWEEN_WORDS.split(text))
    special = sorted(word for word in words if not word.isascii())
    odd = [word for word in special if _is_implausible(word)]
    if not text or odd:
        example = f": it would say {odd[0]!r}" if odd else ""
        raise InputError(
            f"{path} is neither UTF-8 nor Western European text{example}. Save it as CSV in UTF-8 "
            "(in Excel: CSV UTF-8) or as .xlsx."
        )
    listed = ", ".join(special[:10]) or "signs only"
    note = (
        f"{path.name} is not UTF-8 and was read as Windows-1252 (Western European): {listed}. "
        "If these words look wrong, save the table as CSV in UTF-8."
    )
    return text, (note,)


def _is_implausible(word: str) -> bool:
    """Whether most letters are special, as in Cyrillic or Chinese text that is read wrongly."""
    special = sum(not letter.isascii() for letter in word)
    all_special = special == len(word) >= 2
    return all_special or (special >= 3 and special > len(word) - special)


def _without_separator_line(text: str) -> str:
    """The text without Excel's first line ``sep=;``, which only repeats its delimiter."""
    return re.sub(r"\A\"?sep=.\"?(\r\n|\r|\n)", "", text, count=1, flags=re.IGNORECASE)


def _delimiter(text: str, wanted: str) -> str:
    """The delimiter that makes the wanted column one of the header, else most columns."""
    headers = {}
    for delimiter in _DELIMITERS:
        # Not strict: a quote that another delimiter leaves open must not stop the choice.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        first = list(islice((_stripped(row) for row in reader), _MOST_ABOVE))
        row = header_row(first, wanted)
        headers[delimiter] = [] if row is None else _names_of(first[row])
    return max(_DELIMITERS, key=lambda d: (wanted in headers[d], len(headers[d])))


def _records(text: str, delimiter: str, path: Path) -> list[list[str]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[list[str]] = []
    try:
        records.extend(_stripped(record) for record in reader)
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read beyond row {len(records) + 1}: {error}. Is a quotation mark "
            "missing?"
        ) from error
    return records


def _stripped(record: list[str]) -> list[str]:
    return [_unwrapped(value.strip().strip(_UNSEEN).strip()) for value in record]


def _unwrapped(value: str) -> str:
    """The text in ``="01"``, which keeps Excel from dropping zeros."""
    wrapped = value.startswith('="') and value.endswith('"') and len(value) > 2
    return value[2:-1].strip() if wrapped else value


def _fitted(
    records: list[list[str]], numbers: list[int], header: list[str], path: Path
) -> list[list[str]]:
    """Records as long as the header: Excel leaves out empty values at the end."""
    width = len(header)
    too_long = [
        f"row {n + 2}: {len(record)} values, the header has {width}"
        for n, record in zip(numbers, records, strict=True)
        if any(record[width:])
    ]
    if too_long:
        more = f"\n... and {len(too_long) - _MOST_LISTED} more" * (len(too_long) > _MOST_LISTED)
        raise InputError(
            f"{path} has rows with more values than its header. A value with the delimiter in it, "
            "such as a decimal comma or a comma in a name, needs quotation marks.\n"
            + "\n".join(too_long[:_MOST_LISTED])
            + more
        )
    return [[*record[:width], *[""] * (width - len(record))] for record in records]
