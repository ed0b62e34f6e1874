"""Points that napari saved: which of their axes is time, and which is depth."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellcam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.stacks.stack import Stack

_WAY_OUT = "Rename the columns axis-0, axis-1, ... of the table to t, z, y and x."


def is_points(table: pd.DataFrame) -> bool:
    """Whether a table was saved from a points layer of napari."""
    return {"axis-0", "axis-1"} <= set(table)


def named_axes(
    table: pd.DataFrame, image_column: str, opened: Callable[[str], Stack]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rename napari's columns axis-0, axis-1, ... to t, z, y and x; the image decides.

    Parameters
    ----------
    table : with the columns of `is_points`
    image_column : names the image of each row
    opened : opens an image of that column

    Returns
    -------
    table, and notes for the user

    Raises
    ------
    InputError
        If the images leave open what an axis means.
    """
    axes = sorted(
        (name for name in map(str, table) if re.fullmatch(r"axis-\d+", name)),
        key=lambda name: int(name.removeprefix("axis-")),
    )
    leading = axes[:-2]
    if leading and not image_column:
        raise InputError(
            "Points with more than two axes need their image, which says what the axes mean: "
            f"--image, or a column image. {_WAY_OUT}"
        )
    meanings = {
        _meanings(group[leading], opened(str(image)), axes)
        for image, group in (table.groupby(image_column) if leading else ())
    } or {()}
    if leading and meanings == {()}:
        raise InputError("No row of the points names its image, which says what the axes mean.")
    if len(meanings) > 1:
        raise InputError(f"The axes of the points differ from image to image. {_WAY_OUT}")
    names = dict(zip(leading, meanings.pop(), strict=True))
    notes = tuple(
        f"{axis} of napari's points was taken for {'time' if name == 't' else 'the plane'} ({name})"
        ", as the image has it."
        for axis, name in names.items()
        if name in ("t", "z")
    )
    taken = {axes[-2]: "y", axes[-1]: "x"} | {a: n for a, n in names.items() if n in ("t", "z")}
    left_out = [axis for axis, name in names.items() if name not in ("t", "z")]
    # napari's column "index" numbers the points; in a cell table it would be a page group.
    table = table.drop(columns=[*left_out, "index"], errors="ignore")
    clash = sorted(set(taken.values()) & set(table))
    if clash:
        raise InputError(f"The points have a column {clash[0]} besides their axes: remove it.")
    return table.rename(columns=taken), notes


def _meanings(leading: pd.DataFrame, stack: Stack, axes: list[str]) -> tuple[str, ...]:
    """Meaning of the axes before y and x: t, z, c, or empty for an axis of length 1."""
    n_times, n_channels, n_planes = stack.data.shape[:3]
    sizes = {"t": n_times, "z": n_planes}
    large = [name for name in ("t", "z") if sizes[name] > 1]
    # napari shows channels as layers of their own, or as an axis of one layer.
    channel = ["c"] if n_channels > 1 and not stack.is_colour else []
    for meaning in (large, *([*large, *channel] if channel and not large else [],)):
        if meaning and len(meaning) == len(leading.columns):
            return tuple(meaning)
    flat = [bool((_as_numbers(leading[name]) == 0).all()) for name in leading]
    if flat.count(False) == len(large) <= 1 and len(leading.columns) <= 2:
        return tuple("" if is_flat else large[0] for is_flat in flat)
    if all(flat) and len(flat) == 2 and len(large) == 1:
        return ("", "")
    raise InputError(
        f"Points of napari with {len(axes)} axes do not say how they fit {stack.name}, which has "
        f"{n_times} time points, {n_planes} planes and {n_channels} channels. {_WAY_OUT}"
    )


def _as_numbers(values: pd.Series[Any]) -> pd.Series[float]:
    import pandas as pd

    return pd.to_numeric(values, errors="coerce")


def image_path(folder: Path, name: str) -> Path:
    """Path of an image of a table in this folder.

    Windows writes paths with backslashes; they are understood elsewhere if such a file exists.
    """
    path = folder / name
    # os.path, unlike Path, answers for names that are too long or hold a zero byte, too.
    if "\\" in name and not os.path.exists(path):
        forward = folder / name.replace("\\", "/")
        return forward if os.path.exists(forward) else path
    return path
