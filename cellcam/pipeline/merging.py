"""From parts to one result: verify that all is there, then one table, one list of images."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellcam.errors import StoppedError
from cellcam.pipeline.choices import Job
from cellcam.pipeline.huge_images import finished
from cellcam.pipeline.inputs import Image, metadata_of
from cellcam.pipeline.planning import Plan
from cellcam.pipeline.records import Outcome, cells_path
from cellcam.pipeline.running import records_of
from cellcam.stacks.writing import whole_file, write_json
from cellcam.versions import code_version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Excel opens no more rows.
_CSV_ROWS = 1_000_000
# Of cell tables in memory at a time.
ROWS_AT_ONCE, _TABLES_AT_ONCE = 20_000, 2000
_VERSIONS = ("cellcam", "torch", "monai", "numpy", "scikit-image", "tifffile", "distributed")


@dataclass(frozen=True)
class Merged:
    """What a batch came to.

    Attributes
    ----------
    outcomes : one for each input, in order
    cells : in all
    written : the files
    """

    outcomes: tuple[Outcome, ...]
    cells: int
    written: tuple[Path, ...]

    @property
    def failed(self) -> list[Outcome]:
        """The inputs that have no result."""
        return [outcome for outcome in self.outcomes if outcome.status != "done"]


def verify(plan: Plan, job: Job) -> dict[str, Outcome]:
    """List what is expected against what is there; the outcome of every input, by name.

    Raises
    ------
    StoppedError
        If parts are missing: other shards have not run, or files were taken away.
    """
    by_image = {outcome.image: [outcome] for outcome in plan.unusable}
    missing = 0
    for item in plan.items:
        records = records_of(item, job)
        told = [outcome for record in records for outcome in record.outcomes]
        whole = {outcome.image for outcome in told} == {image.name for image in item.images}
        if not whole or not all(record.complete(job.out) for record in records):
            missing += 1
        for outcome in told:
            by_image.setdefault(outcome.image, []).append(outcome)
    if missing:
        raise StoppedError(
            f"{missing} of {len(plan.items)} parts are not there. Run the shards that are missing, "
            "or the same command without --shard."
        )
    outcomes = {image.name: _together(by_image[image.name]) for image in plan.images}
    for name, blocks in plan.blocks_by_image().items():
        record = finished(blocks, job)
        if outcomes[name].status == "done" and record is not None:
            outcomes[name] = record.outcomes[0]
    return outcomes


def merge(
    plan: Plan, outcomes: dict[str, Outcome], job: Job, pattern: str | None, about: dict[str, Any]
) -> Merged:
    """Write ``cells.parquet``, ``cells.csv``, ``images.csv`` and ``run.json``.

    Parameters
    ----------
    outcomes : as `verify` gives them
    pattern : see `metadata_of`
    about : more for ``run.json``
    """
    written = [_write_images_table(plan.images, outcomes, job.out, pattern)]
    done = [image for image in plan.images if outcomes[image.name].status == "done"]
    n_cells = sum(outcomes[image.name].cells for image in done)
    if done:
        written += _write_cells(done, n_cells, job, pattern)
    run = {
        "model": job.spec.model_dump(mode="json", exclude={"training"}),
        "choices": asdict(job.choices),
        "seen": job.choices.z if job.choices.z is not None else job.spec.field,
        "fingerprint": job.fingerprint,
        "images": len(plan.images),
        "failed": len(plan.images) - len(done),
        "cells": n_cells,
        "code": code_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "python": platform.python_version(),
        "notice": "For research use only: the results are no diagnosis.",
        **about,
    }
    written.append(job.out / "run.json")
    write_json(written[-1], run)
    return Merged(tuple(outcomes[image.name] for image in plan.images), n_cells, tuple(written))


def read_cells(images: Sequence[Image], job: Job, pattern: str | None) -> Iterator[pd.DataFrame]:
    """Cell tables of images that are done, with what their names say; large ones in parts."""
    import pyarrow.parquet as pq

    for image in images:
        path = cells_path(job.out, image.name)
        file = pq.ParquetFile(path.with_name(f"{path.name}.parquet"))
        parts = file.iter_batches(ROWS_AT_ONCE) if file.metadata.num_rows else [file.read()]
        for part in parts:
            table = part.to_pandas()
            for i, (column, value) in enumerate(metadata_of(image.name, pattern).items()):
                table.insert(1 + i, column, value)
            yield table


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of an image from those of its blocks: it is done if all of them are."""
    worst = max(outcomes, key=lambda outcome: ("done", "refused", "failed").index(outcome.status))
    cells = sum(outcome.cells for outcome in outcomes) if worst.status == "done" else 0
    return Outcome(worst.image, worst.status, worst.reason, cells)


def _write_images_table(
    images: Sequence[Image], outcomes: dict[str, Outcome], out: Path, pattern: str | None
) -> Path:
    import pandas as pd

    rows = []
    for image in images:
        outcome = outcomes[image.name]
        about: dict[str, object] = {"image": image.name, "file": _safe_text(str(image.file.path))}
        about |= {"status": outcome.status, "reason": " ".join(outcome.reason.split())}
        rows.append(about | {"cells": outcome.cells} | metadata_of(image.name, pattern))
    path = out / "images.csv"
    with whole_file(path) as temporary:
        pd.DataFrame(rows).fillna("").to_csv(temporary, index=False)
    return path


def _safe_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text


def _write_cells(done: Sequence[Image], n_cells: int, job: Job, pattern: str | None) -> list[Path]:
    """All cells as Parquet, and as CSV where a spreadsheet can open it; memory does not grow."""
    import pyarrow.parquet as pq

    paths = [job.out / "cells.parquet"]
    with whole_file(paths[0]) as temporary:
        writer = None
        for table in _large_tables(done, job, pattern):
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    csv = job.out / "cells.csv"
    if n_cells > _CSV_ROWS:
        csv.unlink(missing_ok=True)
        return paths
    with whole_file(csv) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(_large_tables(done, job, pattern)):
            table.to_pandas().to_csv(file, index=False, header=i == 0)
    return [*paths, csv]


def _large_tables(done: Sequence[Image], job: Job, pattern: str | None) -> Iterator[pa.Table]:
    """Cell tables put together to pieces of about 20,000 rows, all with the same columns."""
    import pyarrow as pa

    columns = list(dict.fromkeys(c for image in done for c in metadata_of(image.name, pattern)))
    schema = None
    for tables in _batched(read_cells(done, job, pattern)):
        piece = _one_table(tables, columns)
        arrow = pa.Table.from_pandas(piece, schema=schema, preserve_index=False)
        schema = schema or arrow.schema
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


def _one_table(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One table with all these columns, empty where an image's name does not say them."""
    import pandas as pd

    piece = pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)
    first = ["image", *columns]
    for name in columns:
        piece[name] = piece[name].fillna("") if name in piece else ""
    return piece[[*first, *(name for name in piece if name not in first)]]
