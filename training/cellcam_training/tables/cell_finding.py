"""How a model will find the cells of new images: the channel that shows the table's.

A table says where the cells of its images lie, not how they were found. Without this a model of
several stains could not be used on a new image before the user had named one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finder import FieldView
from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.models.spec import Finding
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import Stack
from cellcam_training.tables.cell_sizes import cell_sizes
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crops import CropSettings, FindingChoice
from cellcam_training.tables.image_crops import cell_positions
from cellcam_training.tables.label_fields import labels_of_rows
from cellcam_training.tables.table_checks import READY_MADE
from cellcam_training.tables.table_fields import TableField, some_fields

# Fields that are tried, and pixels of their edges that are looked at.
_FIELDS, _EDGE = 4, 1024
# Part of the table's cells that a channel must show; and how much less than the best may be found
# by a channel in which fewer other things are found.
_FEWEST, _AS_GOOD = 0.5, 0.05
# Dark cells are looked for where the median has at least this part of the brightest pixels.
_LIT = 0.4


@dataclass(frozen=True)
class _Trial:
    """One way to find cells.

    Attributes
    ----------
    recovered : number of the table's cells that got an object of their own
    found : number of all objects
    """

    finding: Finding
    recovered: int
    found: int


class _Window(NamedTuple):
    """Part of a field, and the (N, 2) cells of the table on it, y and x from its corner."""

    view: FieldView
    centres: NDArray[np.int64]


def measured_finding(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack], crop: int
) -> FindingChoice:
    """The channel, and the size of a cell, with which `ThresholdFinder` finds the table's cells.

    Every channel is tried on a few fields, with the finder's own size of a cell and with that of
    the table's boxes or labels, and for dark cells as well where most of it is bright. A cell of
    the table is found if an object of its own lies on its centre; its neighbours need not be in
    the table.

    Parameters
    ----------
    opened : opens an image
    crop : pixels of a crop along y and x

    Returns
    -------
    FindingChoice
        Without a finding if no channel shows half of the cells, or if the table has crops.
    """
    if table.place in READY_MADE:
        return FindingChoice(None, "crops do not show how cells are found in an image")
    fields = list(some_fields(table, settings, opened, _FIELDS))
    windows = [_window(field, table.place, crop) for field in fields]
    channels, n = fields[0].stack.channels, sum(len(window.centres) for window in windows)
    trials = [
        _tried(windows, Finding(channel=name, diameter_um=diameter, look_for=look))
        for name in channels
        for look in _looks(windows, name)
        for diameter in (None, *_diameters(table, settings, opened, fields[0].stack))
    ]
    most = max(trial.recovered for trial in trials)
    if most < _FEWEST * n:
        return FindingChoice(None, f"no channel shows more than {most} of {n} cells of the table")
    good = [trial for trial in trials if trial.recovered >= most - _AS_GOOD * n]
    best = min(good, key=lambda trial: trial.found)
    why = f"it shows {best.recovered} of {n} cells of the table apart"
    return FindingChoice(best.finding, why)


def _window(field: TableField, place: str, crop: int) -> _Window:
    """The middle of the cells of a field; the fill of the whole field is known."""
    shape = field.stack.data.shape[-2:]
    labels = None
    if place == "label":
        labels = labels_of_rows(field.rows, field.stack, field.t, field.labels_view)
    centres = cell_positions(field.rows, place, shape, labels).centres[:, -2:]
    middle = np.median(centres, axis=0)
    start = np.clip(middle - _EDGE // 2, 0, np.maximum(0, np.array(shape) - _EDGE)).astype(int)
    stop = np.minimum(start + _EDGE, shape)
    part = Part(tuple(start.tolist()), tuple(stop.tolist()), shape)
    channels = field.stack.channels
    whole = FieldView.whole(field.stack, field.t, field.view).with_fill(channels, crop)
    places = np.round(centres).astype(np.int64)
    inside = np.all((places >= start) & (places < stop), axis=1)
    return _Window(whole.cut(part).with_pixels(channels), places[inside] - start)


def _diameters(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack], first: Stack
) -> list[float]:
    """Size of the cells of boxes or labels in um, where the pixel size is known."""
    pixel = settings.pixel_size_um[-1] if settings.pixel_size_um else first.pixel_size_um.x
    if table.place == "centre" or pixel is None:
        return []
    sizes = cell_sizes(table, settings, opened)
    return [] if sizes is None else [round(float(np.median(sizes.sides)) * pixel, 1)]


def _looks(windows: Sequence[_Window], channel: str) -> list[Literal["dark"] | None]:
    """What cells may look like: dark where most of an image is bright, in whatever light."""
    planes = [view.pixels(channel).astype(np.float32) for view, _ in windows]
    lit = [np.nanmedian(plane) > _LIT * np.nanpercentile(plane, 99.9) for plane in planes]
    return [None, "dark"] if np.mean(lit) > 0.5 else [None]


def _tried(windows: Sequence[_Window], finding: Finding) -> _Trial:
    recovered = found = 0
    for view, centres in windows:
        finder = ThresholdFinder(finding.channel, look_for=finding.look_for or "auto")
        finder = finder.for_stack(view.stack, None, finding.diameter_um)
        labels = finder.label(view, finder.measure(view))
        on_centres = np.unique(labels[tuple(centres.T)])
        recovered += int((on_centres > 0).sum())
        found += int(labels.max(initial=0))
    return _Trial(finding, recovered, found)
