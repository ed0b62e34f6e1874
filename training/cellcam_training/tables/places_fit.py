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

_FIELDS, _FEWEST_CELLS = 16, 10
# Larger fields are not read as a whole; of others each so many pixels are enough for ranks.
_MOST_PIXELS, _RANKED_PIXELS = 2**24, 2**16
# Places on cells stand out from those around them by at least this much in rank, and by so many
# standard errors; stated places that do not lie on cells, by at most this part of it.
_STANDS_OUT, _CERTAIN, _BESIDE = 0.08, 4.0, 0.4
_SMOOTHING, _DIRECTIONS = 2.0, 8
# Around a cell is half way to the next: at least so many pixels, at most this part of the field.
_NEAREST, _FARTHEST = 8, 1 / 8
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
    found: dict[str, list[NDArray[np.float64]]] = {}
    for field in some_fields(table, settings, opened, _FIELDS):
        shape = field.stack.data.shape
        if shape[-2] * shape[-1] > _MOST_PIXELS:
            continue
        stated, standing_out = _centres(field, table), _StandingOut.of(field)
        for name, places in _elsewhere(stated, field.stack):
            around = _half_way(places, shape)
            # A place on the same cell tells nothing.
            is_moved = np.linalg.norm(places - stated, axis=1) > 2 * around
            pair = [standing_out.at(centres[is_moved], around) for centres in (places, stated)]
            found.setdefault(name, []).append(np.stack(pair))
    pairs_of = {name: np.concatenate(of_fields, 1) for name, of_fields in found.items()}
    better = {n: float(pair[0].mean()) for n, pair in pairs_of.items() if _fits_better(*pair)}
    if not better:
        return ()
    return (_MISPLACED.format(max(better, key=lambda name: better[name])),)


def _elsewhere(places: Places, stack: Stack) -> Iterator[tuple[str, Places]]:
    """Places (N, 2) of the cells as they may have been meant."""
    height, width = stack.data.shape[-2:]
    yield "if x and y were exchanged", places[:, ::-1]
    yield "if y counted from the other edge", np.stack([height - 1 - places[:, 0], places[:, 1]], 1)
    yield "if x counted from the other edge", np.stack([places[:, 0], width - 1 - places[:, 1]], 1)
    size = stack.pixel_size_um
    if size.y and size.x and (size.y, size.x) != (1, 1):
        yield "if they were in um, not in pixels", places / (size.y, size.x)


def _fits_better(contrasts: NDArray[np.float64], stated: NDArray[np.float64]) -> bool:
    """Whether places lie on cells, and those that are stated do not."""
    if len(stated) < _FEWEST_CELLS or not np.isfinite(contrasts).all():
        return False
    error = (contrasts - stated).std(ddof=1) / np.sqrt(len(stated))
    mean = contrasts.mean()
    is_more = mean - stated.mean() > _CERTAIN * error
    return bool(mean > _STANDS_OUT and is_more and stated.mean() < _BESIDE * mean)


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


def _half_way(places: Places, shape: tuple[int, ...]) -> float:
    """Half the distance from a cell to the next, in pixels."""
    from scipy.spatial import KDTree

    most = _FARTHEST * min(shape[-2:])
    if len(places) < 2:
        return most
    distances = KDTree(places).query(places, k=2)[0][:, 1]
    return float(np.clip(np.median(distances) / 2, min(_NEAREST, most), most))


class _StandingOut:
    """How much the pixels of a field stand out, as ranks, 0 to 1, among all of them."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self._pixels = pixels
        self._ordered = np.sort(pixels.ravel()[:: max(1, pixels.size // _RANKED_PIXELS)])

    @classmethod
    def of(cls, field: TableField) -> _StandingOut:
        """By how far the smoothed intensity is from the median, in all channels together."""
        from scipy import ndimage

        out = np.zeros(field.stack.data.shape[-2:], np.float32)
        for channel in field.stack.field(field.t, field.view):
            pixels = np.nan_to_num(channel.astype(np.float32), posinf=0, neginf=0)
            far = np.abs(ndimage.gaussian_filter(pixels, _SMOOTHING) - np.median(pixels))
            out += far / (far.mean() or 1)
        return cls(out)

    def at(self, places: Places, around: float) -> NDArray[np.float64]:
        """Ranks at places (N,) above those around them; NaN outside the field.

        A region that stands out as a whole makes no difference.
        """
        angles = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
        steps = around * np.stack([np.sin(angles), np.cos(angles)], 1)
        ring = np.stack([self._ranks(places + step) for step in steps])
        known = np.isfinite(ring)
        mean = np.where(known, ring, 0).sum(0) / np.maximum(known.sum(0), 1)
        return self._ranks(places) - mean

    def _ranks(self, places: Places) -> NDArray[np.float64]:
        y, x = np.round(places).astype(int).T
        inside = (y >= 0) & (y < self._pixels.shape[0]) & (x >= 0) & (x < self._pixels.shape[1])
        found = self._pixels[np.where(inside, y, 0), np.where(inside, x, 0)]
        ranks = np.searchsorted(self._ordered, found) / len(self._ordered)
        return np.where(inside, ranks, np.nan)
