"""Some fields of a cell table, on which its cells are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellcam.cells.cropping import shape_at_pixel_size
from cellcam.stacks.stack import Stack, ZChoice
from cellcam_training.tables.cell_table import CellTable

if TYPE_CHECKING:
    import pandas as pd

    from cellcam_training.tables.crops import CropSettings


class TableField(NamedTuple):
    """One plane, or projection, of an image with cells of the table.

    Attributes
    ----------
    view : of its pixels
    labels_view : of its label image, which is a volume where the training sees volumes
    rows : its cells, see `CellTable`
    scale : pixels of a crop for one pixel of the image
    """

    stack: Stack
    t: int
    view: ZChoice
    labels_view: ZChoice
    rows: pd.DataFrame
    scale: float


def some_fields(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack], most: int
) -> Iterator[TableField]:
    """At most so many fields of a table, spread evenly over it.

    Parameters
    ----------
    opened : opens an image
    """
    rows = table.rows
    planes = "z" in rows and settings.field == "plane"
    names = ["image", *(["t"] if "t" in rows else []), *(["z"] if planes else [])]
    groups = list(rows.groupby(names, sort=True))
    chosen = np.unique(np.linspace(0, len(groups) - 1, most).round().astype(int))
    for _, group in (groups[i] for i in chosen):
        stack = opened(str(group["image"].iloc[0]))
        view: ZChoice = int(group["z"].iloc[0]) if planes else None
        if not planes and stack.data.shape[2] > 1:
            view = "mean" if settings.field == "mean" else "max"
        t = int(group["t"].iloc[0]) if "t" in rows else 0
        labels_view: ZChoice = "volume" if settings.n_axes == 3 else view
        yield TableField(stack, t, view, labels_view, group, crop_scale(stack, settings))


def crop_scale(stack: Stack, settings: CropSettings) -> float:
    """Pixels of a crop for one pixel of the image."""
    shape = stack.data.shape[-2:]
    size = settings.pixel_size_um and settings.pixel_size_um[-2:]
    return shape_at_pixel_size(stack, shape, size)[1] / shape[1]
