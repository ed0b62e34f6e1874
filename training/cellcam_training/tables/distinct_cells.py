"""Cells that stand in a table more than once: used once, or refused where rows contradict."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam_training.tables.table_checks import BOX

if TYPE_CHECKING:
    import pandas as pd

    from cellcam_training.tables.table_checks import Problem

# Centres, and corners of boxes, that are no farther apart are of the same cell: nobody clicks
# more exactly. In pixels.
_SAME_CELL = 2.0
_MUST_AGREE = {"cls": "class", "split": "split"}
# Files are compared by their first bytes before they are read whole.
_START_BYTES = 2**16
_MOST_NAMED = 3


def distinct_cells(
    rows: pd.DataFrame, place: str
) -> tuple[NDArray[np.bool_], list[Problem], list[str]]:
    """Which rows to keep so that every cell stands in the table once.

    Parameters
    ----------
    rows, place : see `CellTable`

    Returns
    -------
    (N,) bool, the first row of each cell; rows with another class or split than an earlier row
    of the same cell; and warnings
    """
    first = _first_rows(rows, place)
    again = np.flatnonzero(first != np.arange(len(rows)))
    problems: list[Problem] = []
    for i in again.tolist():
        differences = [
            f"the {word} {rows[name].iloc[i] or 'empty'!s} instead of "
            f"{rows[name].iloc[first[i]] or 'empty'!s}"
            for name, word in _MUST_AGREE.items()
            if rows[name].iloc[i] != rows[name].iloc[first[i]]
        ]
        if differences:
            earlier = rows["row"].iloc[first[i]] + 2
            problems.append(
                (i, f"the same cell as in row {earlier}, with {' and '.join(differences)}")
            )
    return first == np.arange(len(rows)), problems, _warning(rows, first, again)


def _warning(rows: pd.DataFrame, first: NDArray[np.int64], again: NDArray[np.int64]) -> list[str]:
    if not len(again):
        return []
    numbers = rows["row"].to_numpy() + 2
    named = [f"row {numbers[i]} as row {numbers[first[i]]}" for i in again[:_MOST_NAMED]]
    more = f" and {len(again) - _MOST_NAMED} more" if len(again) > _MOST_NAMED else ""
    few = "row repeats a cell" if len(again) == 1 else "rows repeat a cell"
    return [f"{len(again)} {few} ({', '.join(named)}{more}): each cell is used once."]


def _first_rows(rows: pd.DataFrame, place: str) -> NDArray[np.int64]:
    """Number (N,) of the first row of the same cell."""
    keys = rows[[]].copy()
    for name in ("image", "labels"):
        if name in rows:
            files = _numbered_files(rows[name].unique().tolist())
            keys[name] = rows[name].map(files)
    for name in ("t", "z", "index", "label"):
        if name in rows:
            keys[name] = rows[name]
    places = {"centre": ["x", "y"], "box": BOX}.get(place)
    first = np.arange(len(rows))
    for _, same in keys.groupby(list(keys), sort=False, dropna=False):
        numbers = same.index.to_numpy()
        if len(numbers) < 2:
            continue
        if places is None:
            first[numbers] = numbers[0]
        else:
            first[numbers] = numbers[_first_near(rows[places].to_numpy(float)[numbers])]
    return first


def _first_near(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each point the first of those that are near it, or near one that is near it, and so on.

    Parameters
    ----------
    points : (N, n_coordinates)
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    distinct, number = np.unique(points, axis=0, return_inverse=True)
    number = number.ravel()
    # Corners of boxes are compared each by itself, centres by their distance.
    norm = np.inf if points.shape[1] > 2 else 2
    finite = np.isfinite(distinct).all(axis=1)
    pairs = np.flatnonzero(finite)[
        cKDTree(distinct[finite]).query_pairs(_SAME_CELL, p=norm, output_type="ndarray")
    ]
    n = len(distinct)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    cell = connected_components(links, directed=False)[1][number]
    _, first = np.unique(cell, return_index=True)
    return first[np.unique(cell, return_inverse=True)[1]]


def _numbered_files(names: list[str]) -> dict[str, int]:
    """A number for each file; the same for two names of the same content."""
    numbers: dict[object, int] = {}
    identities = dict(_identities(names))
    return {name: numbers.setdefault(identities[name], len(numbers)) for name in names}


def _identities(names: list[str]) -> Iterator[tuple[str, object]]:
    by_size = defaultdict(list)
    for name in names:
        path = Path(os.path.realpath(name))
        if path.is_file():
            by_size[path.stat().st_size].append((name, path))
        else:
            yield name, str(path)
    for alike in by_size.values():
        starts = defaultdict(list)
        distinct = len({path for _, path in alike}) > 1
        for name, path in alike:
            starts[_digest(path, _START_BYTES) if distinct else ""].append((name, path))
        for same_start in starts.values():
            several = len({path for _, path in same_start}) > 1
            for name, path in same_start:
                yield name, _digest(path) if several else str(path)


def _digest(path: Path, most: int = -1) -> str:
    """Hash of a file, or of its first bytes."""
    with open(path, "rb") as file:
        if most >= 0:
            return hashlib.sha256(file.read(most)).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()
