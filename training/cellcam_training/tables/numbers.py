"""Numbers in the texts of a table, with decimal points or decimal commas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam_training.tables.spreadsheets import ExcelDate, ExcelError

if TYPE_CHECKING:
    import pandas as pd

    from cellcam_training.tables.table_checks import Problem

Mark = Literal[".", ","]


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = rf"(?:[1-9]\d{{0,2}}(?:{thousands}\d{{3}})+|\d+)"
    return re.compile(rf"[+-]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


_NUMBER: dict[Mark, re.Pattern[str]] = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}
_LARGEST_WHOLE = 2**53  # larger whole numbers are not exact in float64


def column_numbers(
    table: pd.DataFrame, columns: Sequence[str], whole: Iterable[str], decimal_comma: bool
) -> tuple[dict[str, NDArray[np.float64]], list[Problem]]:
    """Numbers of some columns, and what is wrong with them by row.

    The whole table has one decimal mark. A comma is taken for it only where it cannot separate
    thousands; thousands are read only where some number shows both marks.

    Parameters
    ----------
    table : texts and numbers
    columns : to read
    whole : columns that must hold whole numbers
    decimal_comma : whether decimal commas are usual in such a file, so that 1.234 may be 1234

    Returns
    -------
    (N,) for each column, NaN where there is no number; and problems
    """
    texts = {_normal(v) for name in columns for v in table[name] if isinstance(v, str)}
    mark, doubtful = _decimal_mark(texts, decimal_comma)
    problems: list[Problem] = []
    numbers = {}
    for name in columns:
        found = np.full(len(table), np.nan)
        must_be_whole = name in whole
        for i, value in enumerate(table[name]):
            number, wrong = _number(value, mark, doubtful)
            if not wrong and must_be_whole and not _is_whole(number):
                wrong = "is not a whole number"
            if wrong:
                shown = "" if value == "" else f" {str(value)[:40]!r}"
                problems.append((i, f"{name}{shown} {wrong}"))
            else:
                found[i] = number
        numbers[name] = found
    return numbers, problems


def _decimal_mark(texts: set[str], decimal_comma: bool) -> tuple[Mark, set[str]]:
    """The decimal mark of a table, and the texts that may be two different numbers."""
    marked = {text for text in texts if "," in text or "." in text}
    fits: dict[Mark, set[str]] = {
        mark: {text for text in marked if pattern.fullmatch(text)}
        for mark, pattern in _NUMBER.items()
    }
    either = fits["."] & fits[","]
    surely_point, surely_comma = fits["."] - either, fits[","] - either
    mark: Mark = "," if len(surely_comma) > len(surely_point) else "."
    thousands = "." if mark == "," else ","
    if any(thousands in text and mark in text for text in fits[mark]):
        return mark, set()
    doubtful = {text for text in either if thousands in text}
    if mark == "." and decimal_comma and not surely_point and texts - marked:
        doubtful = either  # 1.234 beside 56: thousands, or three decimals
    if mark == "." and not surely_point and any("," in text for text in either):
        doubtful = either
    return mark, doubtful


def _number(value: object, mark: Mark, doubtful: set[str]) -> tuple[float, str]:
    """A number and the empty text; or NaN and what is wrong."""
    if isinstance(value, int | float):
        return (float(value), "") if math.isfinite(value) else (math.nan, "is not a number")
    if isinstance(value, ExcelDate):
        return math.nan, "is a date; format the column as numbers and type it again"
    if isinstance(value, ExcelError):
        return math.nan, "is an error of the spreadsheet"
    text = _normal(str(value))
    if not text:
        return math.nan, "is empty"
    if text in doubtful:
        return math.nan, (
            "may be a thousand times as large: write numbers without separators of thousands"
        )
    other: Mark = "." if mark == "," else ","
    if _NUMBER[mark].fullmatch(text):
        number = float(text.replace(other, "").replace(mark, "."))
        return (number, "") if math.isfinite(number) else (math.nan, "is too large")
    if _NUMBER[other].fullmatch(text):
        names = {",": "comma", ".": "point"}
        return math.nan, f"has a decimal {names[other]}, other numbers a decimal {names[mark]}"
    return math.nan, "is not a number"


def _normal(text: str) -> str:
    return text.replace("\u2212", "-")  # the minus sign of typesetters


def _is_whole(number: float) -> bool:
    return number.is_integer() and abs(number) <= _LARGEST_WHOLE
