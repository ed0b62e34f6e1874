"""Do the places of a cell table lie on cells? Or would they if x and y were exchanged?

Columns that are exchanged, counted from the other edge or in um are numbers like any other: only
the image shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.stack import Stack
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.label_fields import labelled_positions, labels_of_rows
from cellcam_training.tables.table_checks import BOX, READY_MADE
from cellcam_training.tables.table_fields import TableField, some_fields

if TYPE_CHECKING:
    from cellcam_training.tables.crops import CropSettings

_FIELDS, _FEWEST_CELLS = 8, 10
# Larger fields are not read as a whole; of others each so many pixels are enough for ranks.
_MOST_PIXELS, _RANKED_PIXELS = 2**24, 2**16
# Places on cells have at least this mean rank among the pixels of a field, by how much these stand
# out; and places elsewhere have so much less, in ranks and in standard errors of the difference.
_ON_CELLS, _LESS, _CERTAIN = 0.7, 0.15, 4.0
_SMOOTHING = 2.0
_MISPLACED = (
    "The cells lie where the images show little, and would lie on what they show {}. Check the "
    "places of the cells."
)

Places = NDArray[np.float64]


def misplaced(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack]
) -> tuple[str, ...]:
    """Warning that the cells of a table lie beside what the images show, and on it elsewhere.

    Parameters
    ----------
    opened : opens an image
    """
    if table.place in READY_MADE:
        return ()
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    for field in some_fields(table, settings, opened, _FIELDS):
        shape = field.stack.data.shape
        if shape[-2] * shape[-1] > _MOST_PIXELS:
            continue
        places = _elsewhere(_centres(field, table), field.stack)
        for name, of_field in _ranks(field, dict(places)).items():
            ranks.setdefault(name, []).append(of_field)
    found = {name: np.concatenate(of_fields) for name, of_fields in ranks.items()}
    stated_ranks = found.pop("", np.empty(0))
    better = {n: float(r.mean()) for n, r in found.items() if _is_better(r, stated_ranks)}
    if not better:
        return ()
    return (_MISPLACED.format(max(better, key=lambda name: better[name])),)


def _elsewhere(places: Places, stack: Stack) -> Iterator[tuple[str, Places]]:
    """Places (N, 2) of the cells as stated (no name), and as they may have been meant."""
    height, width = stack.data.shape[-2:]
    yield "", places
    yield "if x and y were exchanged", places[:, ::-1]
    yield "if y counted from the other edge", np.stack([height - 1 - places[:, 0], places[:, 1]], 1)
    yield "if x counted from the other edge", np.stack([places[:, 0], width - 1 - places[:, 1]], 1)
    size = stack.pixel_size_um
    if size.y and size.x and (size.y, size.x) != (1, 1):
        yield "if they were in um, not in pixels", places / (size.y, size.x)


def _is_better(ranks: NDArray[np.float64], stated: NDArray[np.float64]) -> bool:
    """Whether places fit the images, and those that are stated do not."""
    if len(stated) < _FEWEST_CELLS or not np.isfinite(ranks).all():
        return False
    more = ranks - stated
    error = more.std(ddof=1) / np.sqrt(len(more))
    return bool(ranks.mean() > _ON_CELLS and more.mean() > max(_LESS, _CERTAIN * error))


def _centres(field: TableField, table: CellTable) -> Places:
    """Centres (N, 2) of the cells of a field, (y, x) in pixels."""
    rows = field.rows
    if table.place == "box":
        corners = rows[BOX].to_numpy(float)
        return (corners[:, [1, 0]] + corners[:, [3, 2]] - 1) / 2
    if table.place == "label":
        labels = labels_of_rows(rows, field.stack, field.t, field.labels_view)
        return labelled_positions(rows, labels).centres[:, -2:]
    return rows[["y", "x"]].to_numpy(float)


def _ranks(field: TableField, places: dict[str, Places]) -> dict[str, NDArray[np.float64]]:
    """Ranks (N,), 0 to 1, of places among all pixels of a field, by how much these stand out.

    That is how far the smoothed intensity is from the median, in all channels together. NaN where
    a place lies outside the field.
    """
    from scipy import ndimage

    out = np.zeros(field.stack.data.shape[-2:], np.float32)
    for channel in field.stack.field(field.t, field.view):
        pixels = np.nan_to_num(channel.astype(np.float32), posinf=0, neginf=0)
        far = np.abs(ndimage.gaussian_filter(pixels, _SMOOTHING) - np.median(pixels))
        out += far / (far.mean() or 1)
    ordered = np.sort(out.ravel()[:: max(1, out.size // _RANKED_PIXELS)])
    return {name: _at(out, ordered, of_cells) for name, of_cells in places.items()}


def _at(
    pixels: NDArray[np.float32], ordered: NDArray[np.float32], places: Places
) -> NDArray[np.float64]:
    y, x = np.round(places).astype(int).T
    inside = (y >= 0) & (y < pixels.shape[0]) & (x >= 0) & (x < pixels.shape[1])
    found = pixels[np.where(inside, y, 0), np.where(inside, x, 0)]
    return np.where(inside, np.searchsorted(ordered, found) / len(ordered), np.nan)
