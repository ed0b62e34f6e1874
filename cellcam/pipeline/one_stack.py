"""One stack from file to files: every field of it explained, and the results written."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.models.model import CellModel
from cellcam.pipeline.field import (
    Classes,
    FieldResult,
    Progress,
    explain_field,
)
from cellcam.pipeline.matching import field_seen, fields_of, matching_channels
from cellcam.stacks.stack import Stack, ZChoice
from cellcam.stacks.writing import label_dtype, write_json, write_ome_tiff, write_table

if TYPE_CHECKING:
    import pandas as pd

_VERSIONS = ("cellcam", "torch", "monai", "numpy", "scikit-image", "tifffile")


@dataclass(frozen=True, eq=False)
class StackResult:
    """What came out of one stack.

    Attributes
    ----------
    cells : the cell tables of all fields
    fields : time point, plane and result of each field
    written : the files
    """

    cells: pd.DataFrame
    fields: Sequence[tuple[int, ZChoice, FieldResult]]
    written: Sequence[Path]


def explain_stack(
    stack: Stack,
    model: CellModel,
    out: Path,
    *,
    labels: Stack | None = None,
    classes: Classes = "predicted",
    z: ZChoice = None,
    progress: Progress | None = None,
    **options: Any,
) -> StackResult:
    """Explain every field of a stack and write the results to a folder.

    All time points are fields. Of several planes each is a field, unless ``z`` or the model
    chooses one, a projection or the volume.

    Parameters
    ----------
    labels : the user's label image, with the stack's size
    progress : called with (cells done, cells in all) for each field
    **options : passed on to `explain_field`

    Returns
    -------
    StackResult
        ``written`` names ``NAME.maps.ome.tif`` (channel = class), ``NAME.labels.ome.tif``,
        ``NAME.cells.parquet`` and ``.csv``, ``NAME.overview.png`` and ``run.json``.
    """
    import pandas as pd

    started = time.monotonic()
    fields = []
    for t, plane in fields_of(stack, model.spec, z):
        own = None if labels is None else label_field(labels, stack, t, plane)
        result = explain_field(
            stack, model, own, classes=classes, t=t, z=plane, progress=progress, **options
        )
        fields.append((t, plane, result))
    tables = [result.cells for _, _, result in fields]
    cells = pd.concat(tables, ignore_index=True)
    written = write_images(stack, out, fields)
    written += write_table(out / f"{stack.name}.cells", cells)
    written.append(_write_overview(stack, model, out, fields[0], options.get("channels")))
    written.append(out / "run.json")
    run = _run_description(stack, model, classes, z, options, fields)
    run |= {"cells": len(cells), "seconds": round(time.monotonic() - started, 2)}
    write_json(written[-1], run)
    return StackResult(cells, fields, written)


def label_field(labels: Stack, stack: Stack, t: int, z: ZChoice) -> NDArray[Any]:
    """The part of the user's label image that belongs to one field."""
    if labels.data.shape[1] != 1 or labels.data.shape[0] not in (1, stack.data.shape[0]):
        raise InputError(
            f"The label image {labels.name} has shape {labels.data.shape} (TCZYX); it needs one "
            f"channel and 1 or {stack.data.shape[0]} time points."
        )
    t = t if labels.data.shape[0] > 1 else 0
    if labels.data.shape[2] == 1:
        return labels.field(t)[0]
    if z in ("max", "mean"):
        raise InputError(f"The label image {labels.name} has planes, the field is a projection.")
    whole = stack.data.shape[2] == labels.data.shape[2]
    return labels.field(t, "volume" if z is None and whole else z)[0]


def write_images(
    stack: Stack,
    out: Path,
    fields: Sequence[tuple[int, ZChoice, FieldResult]],
    kinds: Sequence[Literal["maps", "labels"]] = ("maps", "labels"),
) -> list[Path]:
    """Write ``NAME.maps.ome.tif`` and ``NAME.labels.ome.tif`` of all fields of a stack."""
    written = []
    for kind in kinds:
        if kind == "maps":
            images, names = np.stack([_with_z(r.maps) for *_, r in fields]), fields[0][2].classes
        else:
            images, names = np.stack([_with_z(r.labels[None]) for *_, r in fields]), ("cells",)
            images = images.astype(label_dtype(images))
        # (T * planes, C, Z, Y, X), where either planes or Z is 1, to TCZYX.
        images = images.reshape(stack.data.shape[0], -1, *images.shape[1:])
        images = np.moveaxis(images, 1, 3).reshape(
            stack.data.shape[0], len(names), -1, *images.shape[-2:]
        )
        written.append(out / f"{stack.name}.{kind}.ome.tif")
        write_ome_tiff(written[-1], images, names, stack.pixel_size_um, stack.time_step_s)
    return written


def _with_z(image: NDArray[Any]) -> NDArray[Any]:
    return image[:, None] if image.ndim == 3 else image


def _write_overview(
    stack: Stack, model: CellModel, out: Path, field: tuple[int, ZChoice, FieldResult], mapping: Any
) -> Path:
    from cellcam.reporting.overview import FieldPicture, draw_overview

    t, z, result = field
    names = matching_channels(stack, model.spec, mapping)
    picture = FieldPicture(
        pixels=stack.field(t, field_seen(stack, model.spec, z), names),
        channels=names,
        labels=result.labels,
        calls=dict(zip(result.cells["label"], result.cells["class"], strict=True)),
        classes=result.classes,
        maps=result.maps,
        pixel_size_um=stack.pixel_size_um.x,
    )
    path = out / f"{stack.name}.overview.png"
    draw_overview(path, picture, f"{stack.name}: {model.spec.network}, Integrated Grad-CAM")
    return path


def _run_description(
    stack: Stack,
    model: CellModel,
    classes: Classes,
    z: ZChoice,
    options: dict[str, Any],
    fields: Sequence[Any],
) -> dict[str, Any]:
    return {
        "command": sys.argv[1:],
        "image": str(stack.path or stack.name),
        "shape_tczyx": list(stack.data.shape),
        "channels": list(stack.channels),
        "pixel_size_um_zyx": list(stack.pixel_size_um),
        "time_step_s": stack.time_step_s,
        "model": model.spec.model_dump(mode="json", exclude={"training"}),
        "classes": classes if isinstance(classes, str) else list(classes),
        "z": z if z is not None else model.spec.field,
        "options": {name: value for name, value in options.items() if value is not None},
        "fields": len(fields),
        "device": str(model.device),
        "versions": {name: version(name) for name in _VERSIONS},
        "python": platform.python_version(),
        "notice": "For research use only: the results are no diagnosis.",
    }
