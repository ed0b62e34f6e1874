"""The report on a batch: its figures and example cells, read from the results."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.batch.images import InputImage
from cellcam.batch.job import Job
from cellcam.batch.merge import ROWS_AT_ONCE, BatchResult
from cellcam.batch.plate_metadata import PLATE, ImageMetadata
from cellcam.batch.shown_cells import CellRow, shown_cells
from cellcam.batch.wells import Well, wells_of, write_wells
from cellcam.reporting.batch_page import BatchReport, PlateMaps, PlateRow, write_batch_page
from cellcam.reporting.cell_pictures import ShownCell

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES, _DOUBTFUL = 3, 8
# The first are the fields of `CellRow`.
_COLUMNS = [
    *("image", "t", "z", "label", "y", "x", "bbox", "class", "probability"),
    *("margin", "flags", "importance_error"),
]


def write_report(
    images: Sequence[InputImage],
    done: BatchResult,
    job: Job,
    pool: Executor,
    metadata: ImageMetadata,
    seconds: float,
) -> list[Path]:
    """Write ``report.html``, and ``wells.csv`` where names state wells, of a merged batch.

    Parameters
    ----------
    pool : explains the cells that the report shows
    """
    classes = job.spec.classes
    groups = {image.name: _group_of(image.name, metadata) for image in images}
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
    wells = wells_of(list(groups), failed, counts, metadata)
    report = BatchReport(
        title=f"{done.cells} cells in {len(images)} images",
        subtitle=f"{job.spec.network}, model {job.spec.weights_sha256[:12]}, {seconds:.0f} s",
        explained=done.explained,
        classes=classes,
        failed=[(failed.image, failed.status, failed.reason) for failed in done.failed],
        notes=done.notes,
        knows_its_cells=job.spec.known_cells is not None,
        plates=plates,
        total=_row("", list(groups), failed, sum(by_plate.values(), Counter()), classes),
        plate_maps=_plate_maps(wells, classes),
        examples=_shown(chosen, images, job, pool),
        doubtful=_shown(doubtful, images, job, pool),
        parameters=[("model", str(job.model)), ("results", str(job.out)), *_parameters(job)],
    )
    write_batch_page(job.out / "report.html", report)
    return [job.out / "report.html", *write_wells(wells, classes, job.out)]


def _plate_maps(wells: Sequence[Well], classes: Sequence[str]) -> list[PlateMaps]:
    """Values of the heat maps of each plate; wells without result have none."""
    maps = []
    for plate in sorted({well.plate for well in wells}):
        mine = [well for well in wells if well.plate == plate and well.failed < well.images]
        values = {"cells": {well.place: float(well.counts["cells"]) for well in mine}}
        parts = {well.place: well.shares(classes) for well in mine}
        for name in classes:
            values[name] = {place: part[name] for place, part in parts.items() if part}
        maps.append(PlateMaps(plate, values))
    return maps


def _group_of(name: str, metadata: ImageMetadata) -> str:
    """Plate of an image, or its folder where the name gives none."""
    return metadata.of(name).get(PLATE) or name.rpartition("/")[0]


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
        counts["unlike"],
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
            for flag in ("uncertain", "edge", "unlike"):
                counter[flag] += int(_has_flag(rows, flag).sum())
            for name, n in rows["class"].value_counts().items():
                counter[f"class {name}"] += int(n)
        # Cells without a call have no margin.
        inner = cells[~cells["flags"].str.contains("edge") & cells["margin"].notna()]
        inner = inner.assign(
            unexplained=inner["importance_error"].isna(), unlike=_has_flag(inner, "unlike")
        )
        pool = pd.concat([chosen, inner]) if len(chosen) else inner
        # How sure a model is of cells that it does not know says little. Of equally sure cells
        # those that need not be explained again.
        keys = ["class", "unlike", "probability", "unexplained"]
        order = pool.sort_values(keys, ascending=[True, True, False, True], kind="stable")
        chosen = order.groupby("class").head(_EXAMPLES)
        pool = pd.concat([doubtful, inner]) if len(doubtful) else inner
        doubtful = pool.sort_values("margin", kind="stable").head(_DOUBTFUL)
    return counts, chosen, doubtful


def _has_flag(cells: pd.DataFrame, flag: str) -> pd.Series[bool]:
    return cells["flags"].str.contains(rf"\b{flag}\b").astype(bool)


def _shown(
    cells: pd.DataFrame, images: Sequence[InputImage], job: Job, pool: Executor
) -> list[ShownCell]:
    """Pictures of cells; cells whose image can no longer be read are left out."""
    by_name = {image.name: image for image in images}
    explained = cells["importance_error"].notna()
    own = cells[_COLUMNS[: len(CellRow._fields) - 2]]
    values = own.assign(explained=explained, unlike=_has_flag(cells, "unlike"))
    rows = [CellRow(*row) for row in values.itertuples(index=False, name=None)]
    futures = {
        name: pool.submit(shown_cells, [row for row in rows if row.image == name], image, job)
        for name, image in by_name.items()
        if any(row.image == name for row in rows)
    }
    pictures = {name: iter(_pictures_of(future)) for name, future in futures.items()}
    shown = [next(pictures[row.image], None) for row in rows]
    return [cell for cell in shown if cell is not None]


def _pictures_of(future: Future[list[ShownCell | None]]) -> list[ShownCell | None]:
    try:
        return future.result()
    except Exception as error:
        logging.getLogger("cellcam").warning("Cells could not be drawn.", exc_info=error)
        return []


def _parameters(job: Job) -> list[tuple[str, str]]:
    """The request and the planes, for the table at the end of the report."""
    asked = job.request.description().items()
    given = [(name, str(value)) for name, value in asked if value not in (None, [], {})]
    planes = job.request.z if job.request.z is not None else job.spec.field
    return [*given, ("planes are seen as", str(planes))]
