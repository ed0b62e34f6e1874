"""Sizes of the cells of a table: of their boxes, their labels, or measured at their centres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.stack import Stack
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.label_fields import labels_of_rows
from cellcam_training.tables.mean_profiles import MeanWidth, mean_width
from cellcam_training.tables.table_checks import BOX
from cellcam_training.tables.table_fields import TableField, crop_scale, some_fields

if TYPE_CHECKING:
    from cellcam_training.tables.crops import CropSettings

# Fields that cells are measured in, spread over the table.
_FIELDS = 16


@dataclass(frozen=True)
class CellSizes:
    """Longer sides of cells.

    Attributes
    ----------
    sides : (N,) in pixels of the crops
    how : where they come from, as part of a sentence
    """

    sides: NDArray[np.float64]
    how: str


def cell_sizes(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack]
) -> CellSizes | None:
    """Sizes of the cells in the plane; None if they cannot be measured.

    Centres say nothing about size: the mean profile around them does, see `mean_width`.

    Parameters
    ----------
    table : of boxes, labels or centres
    opened : opens an image
    """
    if table.place == "box":
        corners = table.rows[BOX].to_numpy(float)
        scale = _scale_of_rows(table, settings, opened)
        return CellSizes((corners[:, 2:] - corners[:, :2]).max(axis=1) * scale, "their boxes")
    fields = list(some_fields(table, settings, opened, _FIELDS))
    if table.place == "label":
        sides = np.concatenate([_sides_of_labels(field) * field.scale for field in fields])
        return CellSizes(sides, "their labels")
    return _around_centres(fields)


def _scale_of_rows(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack]
) -> NDArray[np.float64]:
    scales = {name: crop_scale(opened(name), settings) for name in set(table.rows["image"])}
    return table.rows["image"].map(scales).to_numpy(float)


def _sides_of_labels(field: TableField) -> NDArray[np.float64]:
    """Longer sides in the plane of the labelled cells of a field, in its pixels."""
    from scipy import ndimage

    wanted = np.sort(field.rows["label"].unique())
    labels = labels_of_rows(field.rows, field.stack, field.t, field.labels_view)
    places = np.searchsorted(wanted, labels).clip(0, len(wanted) - 1)
    numbered = np.where(wanted[places] == labels, places + 1, 0)
    boxes = [box for box in ndimage.find_objects(numbered) if box is not None]
    return np.array([max(s.stop - s.start for s in box[-2:]) for box in boxes], float)


def _around_centres(fields: list[TableField]) -> CellSizes | None:
    """Width of the cells around their centres, of the channel that shows them widest."""
    centres = [field.rows[["y", "x"]].to_numpy(float) for field in fields]
    pixels = [field.stack.field(field.t, field.view) for field in fields]
    widths: dict[str, MeanWidth] = {}
    for i, name in enumerate(fields[0].stack.channels):
        width = mean_width([channels[i] for channels in pixels], centres, [f.scale for f in fields])
        if width is not None:
            widths[name] = width
    if not widths:
        return None
    # A nucleus is smaller than its cell: of the channels that show cells clearly, take the widest.
    clearest = max(width.certainty for width in widths.values())
    clear = {name: w for name, w in widths.items() if w.certainty >= clearest / 2}
    name, width = max(clear.items(), key=lambda item: item[1].pixels)
    n = sum(len(points) for points in centres)
    how = f"the mean of the channel {name} around {n} centres"
    return CellSizes(np.array([width.pixels]), how)
