"""Huge images of a batch, block by block: parts first, then one table and one label image.

A block finds the cells of its part of the field, and of the border around it, as they are on the
whole field. Until all blocks are there, a cell is known by its first pixel, which is the same for
every block that sees it; then the cells are numbered in reading order, as on a whole field.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.finding import Labels
from cellcam.pipeline.choices import Job, digest
from cellcam.pipeline.field import FieldResult, map_planes
from cellcam.pipeline.found_field import find_field
from cellcam.pipeline.inputs import Image
from cellcam.pipeline.matching import field_seen
from cellcam.pipeline.network import explained_fields
from cellcam.pipeline.one_stack import label_field
from cellcam.pipeline.planning import FieldBlock, Item
from cellcam.pipeline.records import (
    Outcome,
    Record,
    cells_path,
    outcome_of,
    record_path,
    stop_if_full,
)
from cellcam.pipeline.spooling import in_blocks
from cellcam.stacks.blocks import Part, block_shape
from cellcam.stacks.ome_zarr import create_zarr, open_zarr, write_block
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import whole_file, write_table

_FIRST = "first_pixel"


def prepare_image(items: Sequence[Item], job: Job) -> None:
    """Create the empty maps and label images that the blocks of one huge image write to."""
    image, key = items[0].images[0], image_key(items)
    marker = job.parts / "labels" / f"{image.name}.created"
    classes, _ = map_planes(job.spec, job.choices.classes)
    targets: list[tuple[Path, Sequence[str], type[np.generic]]] = []
    if job.choices.explained > 0:
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
    for item in items:  # what they say was written is gone
        record_path(job.out, item.key).unlink(missing_ok=True)
    stack = in_blocks(job.choices.opened(image.file.path, image.name), image.file, job)
    volume = field_seen(stack, job.spec, job.choices.z) == "volume"
    single = any(item.block is not None and isinstance(item.block.z, int) for item in items)
    planes = stack.data.shape[2] if single or volume else 1
    for path, channels, dtype in targets:
        create_zarr(path, stack, channels, dtype, block_shape(stack), planes)
    with whole_file(marker) as temporary:
        temporary.write_text(key)


def run_block(
    key: str, image: Image, block: FieldBlock, job: Job
) -> tuple[list[Outcome], list[Path]]:
    """Work on one block; its cells go to a part table, its pixels to their place."""
    try:
        stack = in_blocks(job.choices.opened(image.file.path, image.name), image.file, job)
        result, first, seen = _explained_block(stack, image, block, job)
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
        stop_if_full(error)
        return [outcome_of(error, image.name)], []
    plane = block.z if isinstance(block.z, int) else 0
    core = block.block.core
    files = []
    if job.choices.explained > 0:
        maps = result.maps if result.maps.ndim == 4 else result.maps[:, None]
        files += write_block(_zarr_path(job, image, "maps"), block.t, plane, core, maps)
    # A label image of the user's keeps its numbers, and is not written again.
    if image.labels is None:
        labels = seen[result.labels].reshape(1, -1, *result.labels.shape[-2:])
        files += write_block(_raw_labels(job, image), block.t, plane, core, labels)
    table = result.cells
    table[_FIRST] = first
    path = record_path(job.out, key).with_suffix(".parquet")
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    return [Outcome(image.name, "done", cells=len(table))], [path, *files]


def finish_image(items: Sequence[Item], job: Job) -> Outcome:
    """Put the parts of a huge image together: number its cells, write its table and labels."""
    import pandas as pd

    image = items[0].images[0]
    parts = [record_path(job.out, item.key).with_suffix(".parquet") for item in items]
    tables = [pd.read_parquet(path) for path in parts]
    cells = pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)
    cells = cells.sort_values(["t", "z", _FIRST], kind="stable", ignore_index=True)
    lost = 0
    files: list[Path] = []
    if image.labels is None:
        for _, field in cells.groupby(["t", "z"], sort=False):
            t, z = int(field["t"].iloc[0]), str(field["z"].iloc[0])
            cells.loc[field.index, "label"] = np.arange(1, len(field) + 1, dtype=np.int32)
            own = [item.block for item in items if item.block and _of_field(item.block, t, z)]
            first = field[_FIRST].to_numpy(np.uint64)
            for work in own:
                missing, written = _write_labels(image, work, first, job)
                lost, files = lost + missing, [*files, *written]
    files += write_table(cells_path(job.out, image.name), cells.drop(columns=_FIRST))
    told = (
        f"{lost} pixels belong to cells that blocks saw differently: the border is too small for "
        "cells of this size. Give their diameter (--diameter-um)."
    )
    outcome = Outcome(image.name, "done", told if lost else "", len(cells))
    sizes = tuple((path.relative_to(job.out).as_posix(), path.stat().st_size) for path in files)
    key = image_key(items)
    Record(key, (outcome,), sizes).write(record_path(job.out, key))
    return outcome


def finished(items: Sequence[Item], job: Job) -> Record | None:
    """The record of a huge image that was put together."""
    record = Record.read(record_path(job.out, image_key(items)))
    return record if record is not None and record.complete(job.out) else None


def _explained_block(
    stack: Stack, image: Image, work: FieldBlock, job: Job
) -> tuple[FieldResult, NDArray[np.int64], NDArray[np.uint64]]:
    """Result of a block, first pixels of its cells, and first pixel by label for all it sees."""
    labels = None
    if image.labels is not None:
        read = work.block.read.slices
        whole = in_blocks(open_stack(image.labels.path), image.labels, job)
        labels = label_field(whole.cut(*read), stack.cut(*read), work.t, work.z)
    found = find_field(
        stack, job.spec, labels, t=work.t, z=work.z, block=work.block, scale=work.scale,
        **job.choices.finding(),
    )  # fmt: skip
    result = explained_fields([found], job)[0]
    seen = _first_pixels(found.labels, found.read)
    owned = found.cells.numbers[found.owned]
    return result, seen[owned].astype(np.int64), seen


def _first_pixels(labels: Labels, read: Part) -> NDArray[np.uint64]:
    """Place of each label's first pixel in the whole field, counted from 1, by label."""
    numbers, first = np.unique(labels, return_index=True)
    places = np.array(np.unravel_index(first, labels.shape)).T + np.array(read.start)
    by_label = np.zeros(int(numbers.max(initial=0)) + 1, np.uint64)
    by_label[numbers] = np.ravel_multi_index(tuple(places.T), read.whole) + 1
    by_label[0] = 0
    return by_label


def _write_labels(
    image: Image, work: FieldBlock, first: NDArray[np.uint64], job: Job
) -> tuple[int, list[Path]]:
    """Final numbers of one block's pixels; how many belong to cells of no table, and the files."""
    raw, _ = open_zarr(_raw_labels(job, image))
    single, core = isinstance(work.z, int), work.block.core
    plane = work.z if isinstance(work.z, int) else 0
    planes = slice(plane, plane + 1) if single else slice(None)
    pixels = raw[(work.t, slice(None), planes, *core.slices)]
    place = np.searchsorted(first, pixels)
    known = np.append(first, 0)[place] == pixels
    numbers = np.where(known & (pixels > 0), place + 1, 0).astype(np.uint32)
    files = write_block(_zarr_path(job, image, "labels"), work.t, plane, core, numbers)
    return int(((pixels > 0) & ~known).sum()), files


def _of_field(work: FieldBlock, t: int, z: str) -> bool:
    return work.t == t and (not isinstance(work.z, int) or str(work.z) == z)


def image_key(items: Sequence[Item]) -> str:
    """Key of what puts the blocks of an image together."""
    return digest([item.key for item in items])


def _zarr_path(job: Job, image: Image, kind: str) -> Path:
    return job.out / "images" / f"{image.name}.{kind}.ome.zarr"


def _raw_labels(job: Job, image: Image) -> Path:
    return job.parts / "labels" / f"{image.name}.ome.zarr"
