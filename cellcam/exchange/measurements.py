"""Which columns of CellCam's cell tables are measurements; the others say which cell it is."""

from __future__ import annotations

from collections.abc import Iterable

_MEASURED = (
    "area",
    "probability",
    "margin",
    "inside",
    "rim",
    "outside",
    "importance_error",
    "unlike",
)
_PREFIXES = ("p_", "share_")


def measured_columns(columns: Iterable[object]) -> list[str]:
    """Those of the columns that hold what was measured on a cell."""
    names = map(str, columns)
    return [name for name in names if name in _MEASURED or name.startswith(_PREFIXES)]
