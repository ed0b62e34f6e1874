"""What readers of several formats need: columns from what files say cell by cell."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def without_collections() -> Iterator[None]:
    """Hold back the search for garbage, which looks through millions of corners again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def measurement_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Measurements of N cells by name, NaN where there is none; what is no number is left out."""
    columns: dict[str, NDArray[np.float64]] = {}
    for i, row in enumerate(rows):
        for name, value in row.items():
            if (number := _number(value)) is not None:
                if name not in columns:
                    columns[name] = np.full(len(rows), np.nan)
                columns[name][i] = number
    return columns


def text_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Texts about N cells by name, empty where there is none."""
    columns: dict[str, list[str]] = {}
    for i, row in enumerate(rows):
        for name, value in row.items():
            columns.setdefault(name, [""] * len(rows))[i] = str(value)
    return columns


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
