"""From parts to one result: verify that all parts are there, then write the tables of the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from cellcam.batch.huge_images import finished
from cellcam.batch.images import InputImage
from cellcam.batch.items import records_of
from cellcam.batch.job import Job
from cellcam.batch.plan import Plan
from cellcam.batch.plate_metadata import ImageMetadata
from cellcam.batch.records import Outcome, cells_path, damaged_part_stops
from cellcam.errors import StoppedError
from cellcam.pipeline.notes import each_once
from cellcam.pipeline.run_description import describe_run
from cellcam.pipeline.run_folder import RUN, keep_other_run
from cellcam.stacks.writing import spreadsheet_safe, whole_file, write_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# The largest table that Excel opens.
_CSV_ROWS = 1_000_000
# In memory at a time.
ROWS_AT_ONCE, _TABLES_AT_ONCE = 20_000, 2000


@dataclass(frozen=True)
class BatchResult:
    """Results of a batch.

    Attributes
    ----------
    outcomes : one for each input, in order
    cells, explained : number of cells in all images, and of those that were explained
    written : the files of the run
    earlier : what became of the results of an earlier run in the folder, in words
    """

    outcomes: tuple[Outcome, ...]
    cells: int
    explained: int
    written: tuple[Path, ...]
    earlier: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Outcome]:
        """Outcomes of the inputs without a result."""
        return [outcome for outcome in self.outcomes if outcome.status != "done"]

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Image, or number of images, and text of what the user must know about the inputs."""
        images: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            for note in outcome.notes:
                images.setdefault(note, []).append(outcome.image)
        return [
            (names[0] if len(names) == 1 else f"{len(names)} images", note)
            for note, names in images.items()
        ]


def verify(plan: Plan, job: Job) -> dict[str, Outcome]:
    """Compare the records with the plan.

    Returns
    -------
    the outcome of every input, by name

    Raises
    ------
    StoppedError
        If parts are missing: other shards have not run, or files were removed.
    """
    by_image = {outcome.image: [outcome] for outcome in plan.unusable}
    missing = 0
    for item in plan.items:
        records = records_of(item, job)
        outcomes = [outcome for record in records for outcome in record.outcomes]
        whole = {outcome.image for outcome in outcomes} == {image.name for image in item.images}
        if not whole or not all(record.complete(job.out) for record in records):
            missing += 1
        for outcome in outcomes:
            by_image.setdefault(outcome.image, []).append(outcome)
    if missing:
        raise StoppedError(
            f"{missing} of {len(plan.items)} parts are not there. Run the shards that are missing, "
            "or the same command without --shard."
        )
    by_name = {image.name: _combined(by_image[image.name]) for image in plan.images}
    for name, blocks in plan.blocks_by_image().items():
        record = finished(blocks, job)
        if by_name[name].status == "done" and record is not None:
            by_name[name] = record.outcomes[0]
    return by_name


def merge(
    plan: Plan,
    outcomes: dict[str, Outcome],
    job: Job,
    metadata: ImageMetadata,
    about: dict[str, JsonValue],
) -> BatchResult:
    """Write ``cells.parquet``, ``cells.csv``, ``images.csv`` and ``run.json``.

    Parameters
    ----------
    outcomes : of every input by name, from `verify`
    metadata : ``Metadata_`` columns of the images
    about : further facts for ``run.json``
    """
    written = [_write_images_table(plan.images, outcomes, job.out, metadata)]
    done = [image for image in plan.images if outcomes[image.name].status == "done"]
    n_cells = sum(outcomes[image.name].cells for image in done)
    n_explained = 0
    if done:
        tables, n_explained = _write_cells(done, n_cells, job, metadata)
        written += tables
    run = describe_run(job.spec, job.request) | {
        "fingerprint": job.fingerprint,
        "images": len(plan.images),
        "failed": len(plan.images) - len(done),
        "cells": n_cells,
        "explained": n_explained,
    }
    keep_other_run(job.out)
    written.append(job.out / RUN)
    write_json(written[-1], run | about)
    in_order = tuple(outcomes[image.name] for image in plan.images)
    return BatchResult(in_order, n_cells, n_explained, tuple(written))


def read_cells(
    images: Sequence[InputImage], job: Job, metadata: ImageMetadata
) -> Iterator[pd.DataFrame]:
    """Cell tables of finished images with their ``Metadata_`` columns; large tables in parts."""
    for image in images:
        path = cells_path(job.out, image.name)
        for table in _tables_in(path.with_name(f"{path.name}.parquet")):
            for i, (column, value) in enumerate(metadata.of(image.name).items()):
                table.insert(1 + i, column, value)
            yield table


def _tables_in(path: Path) -> Iterator[pd.DataFrame]:
    """Rows of a Parquet file in pieces; one empty table where there are none."""
    import pyarrow.parquet as pq

    with damaged_part_stops(path):
        file = pq.ParquetFile(path)
        parts = file.iter_batches(ROWS_AT_ONCE) if file.metadata.num_rows else [file.read()]
        for part in parts:
            yield part.to_pandas()


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcome of an image from those of its blocks: it is done if all of them are."""
    worst = max(outcomes, key=lambda outcome: ("done", "refused", "failed").index(outcome.status))
    if worst.status != "done":
        return worst
    notes = each_once(note for outcome in outcomes for note in outcome.notes)
    return replace(worst, cells=sum(outcome.cells for outcome in outcomes), notes=notes)


def _write_images_table(
    images: Sequence[InputImage], outcomes: dict[str, Outcome], out: Path, metadata: ImageMetadata
) -> Path:
    import pandas as pd

    rows = []
    for image in images:
        outcome = outcomes[image.name]
        about: dict[str, object] = {"image": image.name, "file": str(image.file.path)}
        about |= {"status": outcome.status, "reason": " ".join(outcome.reason.split())}
        # Of an image without a result the number of cells is unknown, not 0.
        cells = outcome.cells if outcome.status == "done" else ""
        about |= {"cells": cells, "notes": " ".join(outcome.notes)}
        rows.append(about | metadata.of(image.name))
    path = out / "images.csv"
    with whole_file(path) as temporary:
        spreadsheet_safe(pd.DataFrame(rows).fillna("")).to_csv(temporary, index=False)
    return path


def _write_cells(
    done: Sequence[InputImage], n_cells: int, job: Job, metadata: ImageMetadata
) -> tuple[list[Path], int]:
    """Write all cells as Parquet, and as CSV where a spreadsheet can open it, part by part.

    Returns
    -------
    the files, and the number of cells that were explained
    """
    import pyarrow.parquet as pq

    paths = [job.out / "cells.parquet"]
    explained = 0
    tables = _large_tables(done, job, metadata)
    first = next(tables)
    with whole_file(paths[0]) as temporary, pq.ParquetWriter(temporary, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
            explained += len(table) - table["importance_error"].null_count
    csv = job.out / "cells.csv"
    if n_cells > _CSV_ROWS:
        csv.unlink(missing_ok=True)
        return paths, explained
    with whole_file(csv) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(_large_tables(done, job, metadata)):
            spreadsheet_safe(table.to_pandas()).to_csv(file, index=False, header=i == 0)
    return [*paths, csv], explained


def _large_tables(
    done: Sequence[InputImage], job: Job, metadata: ImageMetadata
) -> Iterator[pa.Table]:
    """Cell tables joined to pieces of about 20,000 rows, all with the same columns."""
    import pyarrow as pa

    columns = list(dict.fromkeys(c for image in done for c in metadata.of(image.name)))
    schema = None
    for tables in _batched(read_cells(done, job, metadata)):
        piece = _joined(tables, columns)
        arrow = pa.Table.from_pandas(piece, schema=schema, preserve_index=False)
        if schema is None:
            # Where no cell of the first tables has a call, the column would have no type.
            place = arrow.schema.get_field_index("class")
            schema = arrow.schema.set(place, pa.field("class", pa.string()))
            arrow = arrow.cast(schema)
        yield arrow


def _batched(tables: Iterable[pd.DataFrame]) -> Iterator[list[pd.DataFrame]]:
    pending: list[pd.DataFrame] = []
    for table in tables:
        pending.append(table)
        if sum(map(len, pending)) >= ROWS_AT_ONCE or len(pending) >= _TABLES_AT_ONCE:
            yield pending
            pending = []
    if pending:
        yield pending


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One table with all these columns, empty where the image's name does not give them."""
    import pandas as pd

    piece = pd.concat([table for table in tables if len(table)] or tables)
    first = ["image", *columns]
    for name in columns:
        piece[name] = piece[name].fillna("") if name in piece else ""
    return piece[[*first, *(name for name in piece if name not in first)]]
