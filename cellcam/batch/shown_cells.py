"""Cells that the report of a batch shows, explained here where the batch did not explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.batch.images import InputImage
from cellcam.batch.job import Job
from cellcam.batch.opening import open_in_blocks
from cellcam.batch.plan import border_of
from cellcam.batch.shared_model import explain_cell
from cellcam.cells.user_labels import UserLabels
from cellcam.errors import InputError
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.matching import FieldPlace, MatchedStack
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.stacks.blocks import Block, Part
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack, ZChoice


class CellRow(NamedTuple):
    """Where a cell is and what it was called, from the cell table.

    Attributes
    ----------
    bbox : as in the table, ``[z0,]y0,x0,[z1,]y1,x1``
    explained : whether the batch explained it
    unlike : whether it looks unlike the cells that the model was trained on
    """

    image: str
    t: int
    z: str
    label: int
    y: float
    x: float
    bbox: str
    call: str
    probability: float
    explained: bool
    unlike: bool


def shown_cells(rows: Sequence[CellRow], image: InputImage, job: Job) -> list[ShownCell | None]:
    """Pictures of cells of one image with the evidence for their calls.

    Returns
    -------
    a cell for each row; without maps where it cannot be explained, which its caption says; None
    where its image can no longer be read
    """
    try:
        matched = open_in_blocks(image, job)
    except Exception:  # noqa: BLE001 - a damaged file can raise anything
        return [None] * len(rows)
    maps, labels = (_results(image, job, kind) for kind in ("maps", "labels"))
    if labels is not None:
        matched = replace(matched, finder=UserLabels(labels))
    return [_shown(row, matched, maps, job) for row in rows]


def _results(image: InputImage, job: Job, kind: str) -> Stack | None:
    paths = [job.images / f"{image.name}.{kind}.ome.{ending}" for ending in ("tif", "zarr")]
    return next((open_stack(path) for path in paths if path.exists()), None)


def _shown(row: CellRow, matched: MatchedStack, maps: Stack | None, job: Job) -> ShownCell | None:
    caption = f"{row.call} {row.probability:.0%}: {row.image}, cell {row.label}"
    caption += " (unlike the training cells)" if row.unlike else ""
    window, stack = _window(row, matched), matched.stack
    try:
        pixels = stack.cut(*window.slices).field(row.t, _planes(row, stack), matched.channels)
    except Exception:  # noqa: BLE001 - a damaged file can raise anything
        return None
    try:
        if row.explained and maps is not None and row.call in maps.channels:
            importance = _from_file(row, window, maps)
        else:
            importance = _explained(row, window, matched, job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the report says so
        none = np.zeros((0, *pixels.shape[1:]), np.float32)
        why = str(error).partition(".")[0]
        return ShownCell(pixels, none, f"{caption} (not explained: {why})")
    if not importance.any():
        caption += " (empty map: nothing in the cell raises the score of its class)"
    return ShownCell(pixels, importance, caption)


def _window(row: CellRow, matched: MatchedStack) -> Part:
    """The pixels of the image that a crop around the cell covers."""
    shape = matched.stack.data.shape[-2:]
    starts, stops = [], []
    halves = _half_crop(matched)
    for centre, half, length in zip((row.y, row.x), halves, shape, strict=True):
        starts.append(min(max(0, round(centre) - half), max(0, length - 1)))
        stops.append(min(length, round(centre) + half))
    return Part(tuple(starts), tuple(stops), tuple(shape))


def _half_crop(matched: MatchedStack) -> tuple[int, int]:
    """Half the height and width of a crop, in pixels of the image."""
    model_um, pixel_um = matched.spec.pixel_size_um, matched.stack.pixel_size_um.x
    factor = model_um[-1] / pixel_um if model_um and pixel_um else 1.0
    height, width = (max(8, round(n * factor / 2)) for n in matched.spec.crop_size[-2:])
    return height, width


def _planes(row: CellRow, stack: Stack) -> ZChoice:
    if stack.data.shape[2] == 1:
        return None
    return int(row.z) if row.z.isdecimal() else row.z  # type: ignore[return-value]


def _from_file(row: CellRow, window: Part, maps: Stack) -> NDArray[np.float32]:
    """Importance that the batch wrote, (1, Y, X) or (1, Z, Y, X)."""
    t = row.t if maps.data.shape[0] > 1 else 0
    plane = maps.cut(*window.slices).field(t, _planes(row, maps), [row.call])
    return np.asarray(plane, np.float32)


def _explained(row: CellRow, window: Part, matched: MatchedStack, job: Job) -> NDArray[np.float32]:
    """Importance of one cell for its call, as the batch would have written it."""
    z = _planes(row, matched.stack) if matched.z is None else matched.z
    corners = np.array(row.bbox.split(","), int).reshape(2, -1)
    border = max(border_of(matched.stack, matched.spec, 0), int((corners[1] - corners[0]).max()))
    block = Block(window, window.grown(border))
    if not isinstance(matched.finder, UserLabels):
        raise InputError(f"The label image of {row.image} is no longer among the results.")
    found = find_field(matched, FieldPlace(row.t, z), block)
    if row.label not in found.cells.numbers:
        raise InputError(f"The label image of {row.image} does not hold this cell.")
    return explain_cell(found, row.label, row.call, job).maps
