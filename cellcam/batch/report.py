"""The report on a batch: its figures and example cells, read from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellcam.batch.images import InputImage, metadata_of
from cellcam.batch.job import Job
from cellcam.batch.merge import ROWS_AT_ONCE, BatchResult
from cellcam.batch.opening import open_image
from cellcam.errors import CellCamError
from cellcam.reporting.batch_page import BatchReport, PlateRow, write_batch_page
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import ZChoice

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES, _DOUBTFUL = 3, 8
_COLUMNS = [
    *("image", "t", "z", "label", "y", "x", "class", "probability", "margin", "flags"),
    "importance_error",
]


class _Row(NamedTuple):
    """Where a cell is and what it was called: columns of the cell table."""

    image: str
    t: int
    z: str
    label: int
    y: float
    x: float
    call: str
    probability: float


def write_report(
    images: Sequence[InputImage], done: BatchResult, job: Job, pattern: str | None, seconds: float
) -> Path:
    """Write ``report.html`` of a batch that was merged."""
    classes = job.spec.classes
    groups = {image.name: _group_of(image.name, pattern) for image in images}
    counts, chosen, doubtful = _read_cells(job.out, classes)
    by_plate: dict[str, Counter[str]] = {}
    for image, counter in counts.items():
        by_plate.setdefault(groups[image], Counter()).update(counter)
    failed = {outcome.image for outcome in done.failed}
    plates = [
        _row(
            name,
            [image for image, group in groups.items() if group == name],
            failed,
            by_plate.get(name, Counter()),
            classes,
        )
        for name in sorted(set(groups.values()))
    ]
    report = BatchReport(
        title=f"{done.cells} cells in {len(images)} images",
        subtitle=f"{job.spec.network}, model {job.spec.weights_sha256[:12]}, {seconds:.0f} s",
        classes=classes,
        failed=[(failed.image, failed.status, failed.reason) for failed in done.failed],
        notes=done.notes,
        plates=plates,
        total=_row("", list(groups), failed, sum(by_plate.values(), Counter()), classes),
        examples=_shown(chosen, images, job),
        doubtful=_shown(doubtful, images, job),
        parameters=[("model", str(job.model)), ("results", str(job.out)), *_parameters(job)],
    )
    write_batch_page(job.out / "report.html", report)
    return job.out / "report.html"


def _group_of(name: str, pattern: str | None) -> str:
    """Plate of an image, or its folder where the name gives none."""
    return metadata_of(name, pattern).get("Metadata_Plate") or name.rpartition("/")[0]


def _row(
    name: str, images: Sequence[str], failed: set[str], counts: Counter[str], classes: Sequence[str]
) -> PlateRow:
    return PlateRow(
        name,
        len(images),
        sum(image in failed for image in images),
        counts["cells"],
        counts["uncertain"],
        counts["edge"],
        counts["no call"],
        tuple(counts[f"class {name}"] for name in classes),
    )


def _read_cells(
    out: Path, classes: Sequence[str]
) -> tuple[dict[str, Counter[str]], pd.DataFrame, pd.DataFrame]:
    """Counts by image, the most certain cells of each class, and the most doubtful cells."""
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
        for image, rows in cells.groupby("image"):
            counter = counts.setdefault(str(image), Counter())
            counter["cells"] += len(rows)
            counter["no call"] += int(rows["class"].isna().sum())
            for flag in ("uncertain", "edge"):
                counter[flag] += int(rows["flags"].str.contains(rf"\b{flag}\b").sum())
            for name, n in rows["class"].value_counts().items():
                counter[f"class {name}"] += int(n)
        # Cells are shown with their maps: only explained ones can be.
        inner = cells[~cells["flags"].str.contains("edge") & cells["importance_error"].notna()]
        pool = pd.concat([chosen, inner]) if len(chosen) else inner
        order = pool.sort_values(["class", "probability"], ascending=[True, False], kind="stable")
        chosen = order.groupby("class").head(_EXAMPLES)
        pool = pd.concat([doubtful, inner]) if len(doubtful) else inner
        doubtful = pool.sort_values("margin", kind="stable").head(_DOUBTFUL)
    return counts, chosen, doubtful


def _shown(cells: pd.DataFrame, images: Sequence[InputImage], job: Job) -> list[ShownCell]:
    """Pictures of cells; cells whose image can no longer be read are left out."""
    if job.request.explained == 0:
        return []
    by_name = {image.name: image for image in images}
    shown = []
    for values in cells[_COLUMNS[: len(_Row._fields)]].itertuples(index=False, name=None):
        row = _Row(*values)
        try:
            shown.append(_shown_cell(row, by_name[row.image], job))
        except (CellCamError, OSError):
            continue
    return shown


def _shown_cell(row: _Row, image: InputImage, job: Job) -> ShownCell:
    matched = open_image(image, job)
    stack = matched.stack
    tiff = job.images / f"{image.name}.maps.ome.tif"
    maps = open_stack(tiff if tiff.is_file() else job.images / f"{image.name}.maps.ome.zarr")
    half_y, half_x = _half_crop(job, stack.pixel_size_um.x)
    window = _around(row.y, half_y), _around(row.x, half_x)
    z: ZChoice = int(row.z) if row.z.isdecimal() else row.z  # type: ignore[assignment]
    crop = stack.cut(*window).field(row.t, z if stack.data.shape[2] > 1 else None, matched.channels)
    plane = maps.cut(*window).field(
        row.t if maps.data.shape[0] > 1 else 0, z if maps.data.shape[2] > 1 else None, [row.call]
    )
    caption = f"{row.call} {row.probability:.0%}: {row.image}, cell {row.label}"
    return ShownCell(crop, np.asarray(plane, np.float32), caption)


def _around(centre: float, half: int) -> slice:
    return slice(max(0, round(centre) - half), round(centre) + half)


def _half_crop(job: Job, pixel_um: float | None) -> tuple[int, int]:
    """Half the height and width of a crop, in pixels of the image."""
    model_um = job.spec.pixel_size_um
    factor = model_um[-1] / pixel_um if model_um and pixel_um else 1.0
    height, width = (max(8, round(n * factor / 2)) for n in job.spec.crop_size[-2:])
    return height, width


def _parameters(job: Job) -> list[tuple[str, str]]:
    """The request and the planes, for the table at the end of the report."""
    asked = job.request.description().items()
    given = [(name, str(value)) for name, value in asked if value not in (None, [], {})]
    planes = job.request.z if job.request.z is not None else job.spec.field
    return [*given, ("planes are seen as", str(planes))]
