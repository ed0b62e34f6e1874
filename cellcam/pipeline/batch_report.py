"""What the report on a batch shows, read from its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.errors import CellCamError
from cellcam.pipeline.choices import Job
from cellcam.pipeline.inputs import Image, metadata_of
from cellcam.pipeline.matching import matching_channels
from cellcam.pipeline.merging import ROWS_AT_ONCE, Merged
from cellcam.reporting.batch_page import BatchReport, PlateRow, write_batch_page
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import ZChoice

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES, _DOUBTFUL = 3, 8
_COLUMNS = ["image", "t", "z", "label", "y", "x", "class", "probability", "margin", "flags"]


def write_report(
    images: Sequence[Image], done: Merged, job: Job, pattern: str | None, seconds: float
) -> Path:
    """Write ``report.html`` of a batch that was merged."""
    classes = job.spec.classes
    groups = {image.name: _group_of(image.name, pattern) for image in images}
    counts, chosen, doubtful = _read_cells(job.out, classes)
    by_plate: dict[str, Counter[str]] = {}
    for image, own in counts.items():
        by_plate.setdefault(groups[image], Counter()).update(own)
    failed = {outcome.image for outcome in done.failed}
    plates = [
        _row(name, [i for i, group in groups.items() if group == name], failed, own, classes)
        for name in sorted(set(groups.values()))
        for own in [by_plate.get(name, Counter())]
    ]
    report = BatchReport(
        title=f"{done.cells} cells in {len(images)} images",
        subtitle=f"{job.spec.network}, model {job.spec.weights_sha256[:12]}, {seconds:.0f} s",
        classes=classes,
        failed=[(one.image, one.status, one.reason) for one in done.failed],
        plates=plates,
        total=_row("", list(groups), failed, sum(by_plate.values(), Counter()), classes),
        examples=_shown(chosen, images, job),
        doubtful=_shown(doubtful, images, job),
        parameters=[("model", str(job.model)), ("results", str(job.out)), *_told(job)],
    )
    write_batch_page(job.out / "report.html", report)
    return job.out / "report.html"


def _group_of(name: str, pattern: str | None) -> str:
    """Plate of an image, else its folder."""
    return metadata_of(name, pattern).get("Metadata_Plate") or name.rpartition("/")[0]


def _row(
    name: str, images: Sequence[str], failed: set[str], own: Counter[str], classes: Sequence[str]
) -> PlateRow:
    return PlateRow(
        name, len(images), sum(image in failed for image in images), own["cells"],
        own["uncertain"], own["edge"], tuple(own[f"class {name}"] for name in classes),
    )  # fmt: skip


def _read_cells(
    out: Path, classes: Sequence[str]
) -> tuple[dict[str, Counter[str]], pd.DataFrame, pd.DataFrame]:
    """Counts by image, the surest cells of each class and the most doubtful ones."""
    import pandas as pd
    import pyarrow.parquet as pq

    counts: dict[str, Counter[str]] = {}
    chosen = doubtful = pd.DataFrame(columns=_COLUMNS)
    path = out / "cells.parquet"
    batches = (
        pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=_COLUMNS) if path.is_file() else ()
    )
    for batch in batches:
        cells = batch.to_pandas()
        for image, own in cells.groupby("image"):
            counter = counts.setdefault(str(image), Counter())
            counter["cells"] += len(own)
            for flag in ("uncertain", "edge"):
                counter[flag] += int(own["flags"].str.contains(rf"\b{flag}\b").sum())
            for name, n in own["class"].value_counts().items():
                counter[f"class {name}"] += int(n)
        inner = cells[~cells["flags"].str.contains("edge")]
        pool = pd.concat([chosen, inner]) if len(chosen) else inner
        order = pool.sort_values(["class", "probability"], ascending=[True, False], kind="stable")
        chosen = order.groupby("class").head(_EXAMPLES)
        pool = pd.concat([doubtful, inner]) if len(doubtful) else inner
        doubtful = pool.sort_values("margin", kind="stable").head(_DOUBTFUL)
    return counts, chosen, doubtful


def _shown(cells: pd.DataFrame, images: Sequence[Image], job: Job) -> list[ShownCell]:
    """Cells as pictures; one whose image can no longer be read is left out."""
    if job.choices.explained == 0:
        return []
    by_name = {image.name: image for image in images}
    shown = []
    for record in cells.to_dict("records"):
        row = {str(column): value for column, value in record.items()}
        try:
            shown.append(_shown_cell(row, by_name[row["image"]], job))
        except (CellCamError, OSError):
            continue
    return shown


def _shown_cell(row: dict[str, Any], image: Image, job: Job) -> ShownCell:
    stack = job.choices.opened(image.file.path, image.name)
    base = job.out / "images"
    tiff = base / f"{image.name}.maps.ome.tif"
    maps = open_stack(tiff if tiff.is_file() else base / f"{image.name}.maps.ome.zarr")
    window = [
        slice(max(0, round(row[axis]) - half), round(row[axis]) + half)
        for axis, half in zip("yx", _half_crop(job, stack.pixel_size_um.x), strict=True)
    ]
    z: ZChoice = int(row["z"]) if str(row["z"]).isdecimal() else row["z"]
    names = matching_channels(stack, job.spec, dict(job.choices.mapping))
    flat = z if maps.data.shape[2] > 1 else None
    crop = stack.cut(*window).field(row["t"], z if stack.data.shape[2] > 1 else None, names)
    plane = maps.cut(*window).field(row["t"], flat, [row["class"]])
    place = f"{row['image']}, cell {row['label']}"
    caption = f"{row['class']} {row['probability']:.0%}: {place}"
    return ShownCell(crop, np.asarray(plane, np.float32), caption)


def _half_crop(job: Job, pixel_um: float | None) -> tuple[int, int]:
    """Half of a crop, in pixels of the image."""
    wanted = job.spec.pixel_size_um
    factor = wanted[-1] / pixel_um if wanted and pixel_um else 1.0
    height, width = (max(8, round(n * factor / 2)) for n in job.spec.crop_size[-2:])
    return height, width


def _told(job: Job) -> list[tuple[str, str]]:
    choices = asdict(job.choices)
    said = [(name, str(value)) for name, value in choices.items() if value not in (None, ())]
    seen = job.choices.z if job.choices.z is not None else job.spec.field
    return [*said, ("planes are seen as", str(seen))]
