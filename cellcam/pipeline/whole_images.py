"""Whole images of a batch: small enough to be explained in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellcam.pipeline.choices import Job
from cellcam.pipeline.field import FieldResult
from cellcam.pipeline.found_field import FoundField, find_field
from cellcam.pipeline.inputs import Image
from cellcam.pipeline.matching import fields_of
from cellcam.pipeline.network import explained_fields
from cellcam.pipeline.one_stack import label_field, write_images
from cellcam.pipeline.records import Outcome, cells_path, outcome_of, stop_if_full
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack, ZChoice
from cellcam.stacks.writing import write_table

if TYPE_CHECKING:
    import pandas as pd


def run_images(images: Sequence[Image], job: Job) -> tuple[list[Outcome], list[Path]]:
    """Work on whole images; one that cannot be used stops no other."""
    outcomes: list[Outcome] = []
    opened: list[tuple[Stack, list[FoundField]]] = []
    for image in images:
        _remove_results(job.out, image.name)
        try:
            stack = job.choices.opened(image.file.path, image.name)
            labels = open_stack(image.labels.path) if image.labels else None
            opened.append((stack, _found_fields(stack, labels, job)))
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
            stop_if_full(error)
            outcomes.append(outcome_of(error, image.name))
    results = iter(explained_fields([one for _, found in opened for one in found], job))
    files: list[Path] = []
    for stack, found in opened:
        fields = [(one.t, one.z, next(results)) for one in found]
        files += _write_results(stack, fields, job)
        outcomes.append(Outcome(stack.name, "done", cells=sum(len(r.cells) for *_, r in fields)))
    return sorted(outcomes, key=lambda outcome: outcome.image), files


def _write_results(
    stack: Stack, fields: Sequence[tuple[int, ZChoice, FieldResult]], job: Job
) -> list[Path]:
    import pandas as pd

    cells: pd.DataFrame = pd.concat([result.cells for *_, result in fields], ignore_index=True)
    kinds: Sequence[Literal["maps", "labels"]]
    kinds = ("maps", "labels") if job.choices.explained > 0 else ("labels",)
    return [
        *write_images(stack, job.out / "images", fields, kinds),
        *write_table(cells_path(job.out, stack.name), cells),
    ]


def _remove_results(out: Path, name: str) -> None:
    """Results of an earlier run with other choices are not left beside new ones."""
    for ending in ("maps.ome.tif", "labels.ome.tif", "cells.parquet", "cells.csv"):
        (out / "images" / f"{name}.{ending}").unlink(missing_ok=True)


def _found_fields(stack: Stack, labels: Stack | None, job: Job) -> list[FoundField]:
    """Read every field of an image and find its cells."""
    return [
        find_field(
            stack, job.spec, label_field(labels, stack, t, z) if labels else None, t=t, z=z,
            **job.choices.finding(),
        )
        for t, z in fields_of(stack, job.spec, job.choices.z)
    ]  # fmt: skip
