"""Items of huge images, block by block: parts first, then one table and one label image.

A block finds the cells of its part of the field, and of the border around it, as they are on the
whole field. Until all blocks are done, a cell is identified by its first pixel, which all blocks
that see it agree on; then cells are numbered in reading order, as on a whole field.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam.batch.executors import end_broken_process
from cellcam.batch.images import InputImage, check_unchanged
from cellcam.batch.job import Job, digest
from cellcam.batch.opening import open_in_blocks
from cellcam.batch.plan import FieldBlock, Item
from cellcam.batch.records import (
    Outcome,
    Record,
    cells_path,
    damaged_part_stops,
    outcome_of,
    record_path,
    stop_if_all_would_fail,
)
from cellcam.batch.shared_model import call_and_explain
from cellcam.cells.finder import Labels
from cellcam.pipeline.explain_field import FieldResult
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.matching import map_planes
from cellcam.pipeline.notes import image_notes
from cellcam.stacks.blocks import Part, block_shape
from cellcam.stacks.ome_zarr import create_zarr, open_zarr, write_block
from cellcam.stacks.writing import whole_file, write_table

_FIRST = "first_pixel"


def prepare_image(items: Sequence[Item], job: Job) -> None:
    """Create the empty maps and label images that the blocks of one huge image write to."""
    image, key = items[0].images[0], image_key(items)
    marker = job.parts / "labels" / f"{image.name}.created"
    classes, _ = map_planes(job.spec, job.request.classes)
    targets: list[tuple[Path, Sequence[str], type[np.generic]]] = []
    if job.request.explained > 0:
        targets.append((_zarr_path(job, image, "maps"), classes, np.float32))
    if image.labels is None:
        targets.append((_zarr_path(job, image, "labels"), ["cells"], np.uint32))
        targets.append((_raw_labels(job, image), ["cells"], np.uint64))
    if (
        marker.is_file()
        and marker.read_text() == key
        and all(path.is_dir() for path, _, _ in targets)
    ):
        return
    for item in items:  # the files that these records list are gone
        record_path(job.out, item.key).unlink(missing_ok=True)
    matched = open_in_blocks(image, job)
    stack = matched.stack
    by_plane = any(item.block and isinstance(item.block.place.z, int) for item in items)
    planes = stack.data.shape[2] if by_plane or matched.z == "volume" else 1
    for path, channels, dtype in targets:
        create_zarr(path, stack, channels, dtype, block_shape(stack), planes)
    with whole_file(marker) as temporary:
        temporary.write_text(key)


def run_block(
    key: str, image: InputImage, block: FieldBlock, job: Job
) -> tuple[list[Outcome], list[Path]]:
    """Work on one block: its cells go to a table of its own, its pixels to their place."""
    try:
        result, first, seen = _explained_block(image, block, job)
        check_unchanged(image)
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
        stop_if_all_would_fail(error)
        end_broken_process(error)
        return [outcome_of(error, image.name)], []
    t, plane = block.place.t, _plane(block)
    core = block.block.core
    files = []
    if job.request.explained > 0:
        maps = result.maps if result.maps.ndim == 4 else result.maps[:, None]
        files += write_block(_zarr_path(job, image, "maps"), t, plane, core, maps)
    # The user's label image keeps its numbers, and is not written again.
    if image.labels is None:
        labels = seen.reshape(1, -1, *seen.shape[-2:])
        files += write_block(_raw_labels(job, image), t, plane, core, labels)
    table = result.cells
    table[_FIRST] = first
    path = record_path(job.out, key).with_suffix(".parquet")
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    outcome = Outcome(image.name, "done", cells=len(table), notes=result.notes)
    return [outcome], [path, *files]


def finish_image(items: Sequence[Item], job: Job) -> Outcome:
    """Put the parts of a huge image together: number its cells, write its table and labels."""
    import pandas as pd

    image = items[0].images[0]
    parts = [record_path(job.out, item.key).with_suffix(".parquet") for item in items]
    tables = []
    for path in parts:
        with damaged_part_stops(path):
            tables.append(pd.read_parquet(path))
    cells = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    cells = cells.sort_values(["t", "z", _FIRST], kind="stable", ignore_index=True)
    lost = 0
    files: list[Path] = []
    if image.labels is None:
        for _, field in cells.groupby(["t", "z"], sort=False):
            t, z = int(field["t"].iloc[0]), str(field["z"].iloc[0])
            cells.loc[field.index, "label"] = np.arange(1, len(field) + 1, dtype=np.int32)
            blocks = [item.block for item in items if item.block and _of_field(item.block, t, z)]
            first = field[_FIRST].to_numpy(np.uint64)
            for block in blocks:
                missing, written = _write_labels(image, block, first, job)
                lost, files = lost + missing, [*files, *written]
    files += write_table(cells_path(job.out, image.name), cells.drop(columns=_FIRST))
    notes = [note for outcome in _outcomes(items, job) for note in outcome.notes]
    if lost:
        notes.append(
            f"{lost} pixels belong to cells that blocks saw differently: the border is too small "
            "for cells of this size. Give their diameter (--diameter-um)."
        )
    notes_of_image = image_notes(notes, cells, job.spec)
    outcome = Outcome(image.name, "done", cells=len(cells), notes=notes_of_image)
    sizes = tuple((path.relative_to(job.out).as_posix(), path.stat().st_size) for path in files)
    key = image_key(items)
    Record(key, (outcome,), sizes).write(record_path(job.out, key))
    return outcome


def _outcomes(items: Sequence[Item], job: Job) -> list[Outcome]:
    """Outcomes of the blocks."""
    records = (Record.read(record_path(job.out, item.key)) for item in items)
    return [outcome for record in records if record is not None for outcome in record.outcomes]


def finished(items: Sequence[Item], job: Job) -> Record | None:
    """The record of a huge image that was put together."""
    record = Record.read(record_path(job.out, image_key(items)))
    return record if record is not None and record.complete(job.out) else None


def _explained_block(
    image: InputImage, block: FieldBlock, job: Job
) -> tuple[FieldResult, NDArray[np.int64], NDArray[np.uint64]]:
    """Result of a block; first pixel of each of its cells; image of the cells' first pixels."""
    matched = open_in_blocks(image, job)
    found = find_field(matched, block.place, block.block, block.measured, block.fill)
    result = call_and_explain([found], job)[0]
    numbers, compact = found.compact
    first_pixels = _first_pixels(compact, found.read)
    owned = np.searchsorted(numbers, found.cells.numbers[found.owned]) + 1
    seen = first_pixels[compact[found.core.within(found.read)]]
    return result, first_pixels[owned].astype(np.int64), seen


def _first_pixels(labels: Labels, read: Part) -> NDArray[np.uint64]:
    """Place of each label's first pixel in the whole field, counted from 1, by label."""
    numbers, first = np.unique(labels, return_index=True)
    places = np.array(np.unravel_index(first, labels.shape)).T + np.array(read.start)
    by_label = np.zeros(int(numbers.max(initial=0)) + 1, np.uint64)
    by_label[numbers] = np.ravel_multi_index(tuple(places.T), read.whole) + 1
    by_label[0] = 0
    return by_label


def _write_labels(
    image: InputImage, block: FieldBlock, first: NDArray[np.uint64], job: Job
) -> tuple[int, list[Path]]:
    """Write the final labels of one block.

    Parameters
    ----------
    first : first pixels of the field's cells, in the order of their labels

    Returns
    -------
    number of pixels whose cell is in no table, and the files
    """
    raw, _ = open_zarr(_raw_labels(job, image))
    core, t, plane = block.block.core, block.place.t, _plane(block)
    planes = slice(plane, plane + 1) if isinstance(block.place.z, int) else slice(None)
    pixels = raw[(t, slice(None), planes, *core.slices)]
    place = np.searchsorted(first, pixels)
    known = np.append(first, 0)[place] == pixels
    numbers = np.where(known & (pixels > 0), place + 1, 0).astype(np.uint32)
    files = write_block(_zarr_path(job, image, "labels"), t, plane, core, numbers)
    return int(((pixels > 0) & ~known).sum()), files


def _of_field(block: FieldBlock, t: int, z: str) -> bool:
    place = block.place
    return place.t == t and (not isinstance(place.z, int) or str(place.z) == z)


def _plane(block: FieldBlock) -> int:
    return block.place.z if isinstance(block.place.z, int) else 0


def image_key(items: Sequence[Item]) -> str:
    """Key of the step that puts the blocks of an image together."""
    return digest([item.key for item in items])


def _zarr_path(job: Job, image: InputImage, kind: str) -> Path:
    return job.images / f"{image.name}.{kind}.ome.zarr"


def _raw_labels(job: Job, image: InputImage) -> Path:
    return job.parts / "labels" / f"{image.name}.ome.zarr"
