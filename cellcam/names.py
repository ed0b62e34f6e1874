"""Lists of names in one text, such as ``A,B``: names with commas stand in quotation marks."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable


def split_names(text: str | None, known: Collection[str] = ()) -> tuple[str, ...]:
    """Names of a list such as ``A,B`` or ``"T cell, CD8+",other``.

    Parameters
    ----------
    text : names, separated by commas; quotation marks as in CSV around names with commas
    known : names that are understood without quotation marks, too, where no name is quoted

    Returns
    -------
    names without outer spaces
    """
    if not text or not text.strip():
        return ()
    if '"' not in text and known:
        return tuple(_joined_pieces(text.split(","), {name.strip(): name for name in known}))
    pieces = next(csv.reader(io.StringIO(text), skipinitialspace=True), [])
    return tuple(piece.strip() for piece in pieces)


def joined_names(names: Iterable[str], separator: str = ",") -> str:
    """Text that `split_names` reads back as these names."""
    return separator.join(
        '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name
        for name in names
    )


def _joined_pieces(pieces: list[str], known: dict[str, str]) -> Iterable[str]:
    """Pieces between commas; the longest run of pieces that is a known name is one."""
    first = 0
    while first < len(pieces):
        ends = range(len(pieces), first + 1, -1)
        runs = ((",".join(pieces[first:end]).strip(), end) for end in ends)
        name, end = next((run for run in runs if run[0] in known), (pieces[first].strip(), 0))
        yield known.get(name, name)
        first = end or first + 1
