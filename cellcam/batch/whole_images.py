"""Items of whole images: small enough to be explained in one piece."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.batch.images import InputImage, check_unchanged
from cellcam.batch.job import Job
from cellcam.batch.opening import open_image
from cellcam.batch.records import Outcome, cells_path, outcome_of, stop_if_all_would_fail
from cellcam.batch.shared_model import call_and_explain
from cellcam.pipeline.explain_field import FieldResult
from cellcam.pipeline.find_field import FoundCells, find_field
from cellcam.pipeline.matching import MatchedStack
from cellcam.pipeline.notes import image_notes
from cellcam.pipeline.result_files import kinds_to_write, write_images
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import write_table

if TYPE_CHECKING:
    import pandas as pd


def run_images(images: Sequence[InputImage], job: Job) -> tuple[list[Outcome], list[Path]]:
    """Work on whole images; an image that cannot be used does not stop the others."""
    import pandas as pd

    outcomes: list[Outcome] = []
    found: list[tuple[MatchedStack, list[FoundCells]]] = []
    for image in images:
        _remove_results(job.images, image.name)
        try:
            matched = open_image(image, job)
            fields = [find_field(matched, place) for place in matched.fields()]
            check_unchanged(image)
            found.append((matched, fields))
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
            stop_if_all_would_fail(error)
            outcomes.append(outcome_of(error, image.name))
    results = iter(call_and_explain([field for _, fields in found for field in fields], job))
    files: list[Path] = []
    for matched, fields in found:
        own_results = [next(results) for _ in fields]
        cells: pd.DataFrame = pd.concat([r.cells for r in own_results], ignore_index=True)
        files += _write_results(matched.stack, own_results, cells, job)
        of_fields = [note for result in own_results for note in result.notes]
        notes = image_notes(of_fields, cells, job.spec)
        outcomes.append(Outcome(matched.stack.name, "done", cells=len(cells), notes=notes))
    return sorted(outcomes, key=lambda outcome: outcome.image), files


def _write_results(
    stack: Stack, results: Sequence[FieldResult], cells: pd.DataFrame, job: Job
) -> list[Path]:
    return [
        *write_images(stack, job.images, results, kinds_to_write(cells)),
        *write_table(cells_path(job.out, stack.name), cells),
    ]


def _remove_results(folder: Path, name: str) -> None:
    """Results of an earlier run for another request must not stay beside new ones."""
    for ending in ("maps.ome.tif", "labels.ome.tif", "cells.parquet", "cells.csv"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
    for kind in ("maps", "labels"):
        shutil.rmtree(folder / f"{name}.{kind}.ome.zarr", ignore_errors=True)
