"""One stack from file to files: explain each of its fields and write the results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from cellcam.cells.user_labels import UserLabels
from cellcam.models.model import CellModel
from cellcam.pipeline.explain_field import FieldResult, as_user_labels, explain_place
from cellcam.pipeline.linked_cells import CELL_3D, are_single_planes, number_cells_3d
from cellcam.pipeline.matching import MatchedStack, match
from cellcam.pipeline.notes import image_notes
from cellcam.pipeline.result_files import kinds_to_write, write_images
from cellcam.pipeline.run_description import describe_run
from cellcam.pipeline.run_folder import RUN, check_folder, described_image, keep_other_run
from cellcam.progress import Progress, nobody, staged
from cellcam.request import Request
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import check_name, writable_folder, write_json, write_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StackResult:
    """Results of one stack.

    Attributes
    ----------
    cells : the cell tables of all fields
    fields : result of each field
    written : the files
    notes : what the user must know about the image, its cells and their calls
    """

    cells: pd.DataFrame
    fields: Sequence[FieldResult]
    written: Sequence[Path]
    notes: tuple[str, ...] = ()


def explain_stack(
    stack: Stack,
    model: CellModel,
    out: Path,
    request: Request | None = None,
    *,
    labels: Stack | UserLabels | None = None,
    progress: Progress | None = None,
) -> StackResult:
    """Explain every field of a stack and write the results to a folder.

    Each time point is a field. So is each of several planes, unless the request or the model
    chooses one plane, a projection or the volume.

    Parameters
    ----------
    labels : the user's label image, with the stack's size; see `open_labels`
    progress : called with (cells done, cells in all, what is being done) for each field; with
        (0, 0, what is being done) between them

    Returns
    -------
    StackResult
        ``written`` names ``NAME.maps.ome.tif`` (channel = class), ``NAME.labels.ome.tif``,
        ``NAME.cells.parquet`` and ``.csv``, ``NAME.overview.png`` and ``run.json``; no maps where
        no cell is explained. Where each plane is a field, the table has the column
        ``cell_3d``, see `number_cells_3d`. A ``run.json`` about another image becomes
        ``ITS_NAME.run.json``.

    Raises
    ------
    InputError, UsageError
        See `match` and `check_folder`.
    """
    import pandas as pd

    started = time.monotonic()
    check_name(writable_folder(out), stack.name)
    check_folder(out, stack)
    finder = None if labels is None else as_user_labels(labels)
    matched = match(stack, model.spec, request or Request(), finder)
    places = list(matched.fields())
    fields = [
        explain_place(matched, place, model, _of_field(progress, i, len(places)))
        for i, place in enumerate(places)
    ]
    report = progress or nobody
    report(0, 0, "writing maps and overview")
    cells = pd.concat([field.cells for field in fields], ignore_index=True)
    if are_single_planes(places):
        images = [field.labels for field in fields]
        listed = [field.cells["label"].to_numpy() for field in fields]
        cells[CELL_3D] = number_cells_3d(places, images, listed)
    kinds = kinds_to_write(cells)
    written = write_images(stack, out, fields, kinds)
    if "maps" not in kinds:
        (out / f"{stack.name}.maps.ome.tif").unlink(missing_ok=True)  # of an earlier run
    written += write_table(out / f"{stack.name}.cells", cells)
    written.append(_write_overview(matched, model.spec.network, out, fields[0]))
    keep_other_run(out, stack)
    written.append(out / RUN)
    run = describe_run(model.spec, matched.request) | _describe_stack(stack)
    notes = image_notes([note for field in fields for note in field.notes], cells, model.spec)
    run |= {"device": str(model.device), "engine": asdict(model.engine.facts)}
    run |= {"fields": len(fields), "cells": len(cells)}
    run |= {"explained": int(cells["importance_error"].notna().sum()), "notes": list(notes)}
    write_json(written[-1], run | {"seconds": round(time.monotonic() - started, 2)})
    return StackResult(cells, fields, written, notes)


def _of_field(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Progress of one of several fields; that of a single field has no number."""
    return staged(progress, f"field {number + 1} of {count}") if count > 1 else progress


def _write_overview(matched: MatchedStack, network: str, out: Path, field: FieldResult) -> Path:
    from cellcam.reporting.overview import FieldPicture, draw_overview

    stack = matched.stack
    picture = FieldPicture(
        pixels=stack.field(*field.place, matched.channels),
        channels=list(matched.channels),
        labels=field.labels,
        calls=dict(zip(field.cells["label"], field.cells["class"], strict=True)),
        classes=field.classes,
        maps=field.maps,
        explained=set(field.cells["label"][field.cells["importance_error"].notna()]),
        pixel_size_um=stack.pixel_size_um.x,
        missing=field.missing,
    )
    path = out / f"{stack.name}.overview.png"
    draw_overview(path, picture, f"{stack.name}: {network}, Integrated Grad-CAM")
    return path


def _describe_stack(stack: Stack) -> dict[str, JsonValue]:
    return {
        "image": described_image(stack),
        "name": stack.name,
        "shape_tczyx": list(stack.data.shape),
        "channels": list(stack.channels),
        "pixel_size_um_zyx": list(stack.pixel_size_um),
        "time_step_s": stack.time_step_s,
    }
