"""The cells of a run as SpatialData: label images with a table on them."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellcam.errors import UsageError, how_to_install
from cellcam.exchange.anndata import cells_as_anndata
from cellcam.pipeline.run_cells import ImageResult, images_of_run
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    import pandas as pd

_REGION, _INSTANCE = "region", "label"


def export_spatialdata(run: Path, target: Path) -> tuple[str, ...]:
    """Write the cells of a run as one SpatialData folder; returns notes for the user.

    Each field (time point and plane, or volume) is a label image in micrometres, in pixels where
    their size is unknown; the table ``cells`` annotates the labels and is that of
    `cells_as_anndata`. Each image is a coordinate system of its own, a single one ``global``.

    Parameters
    ----------
    run : output folder of `explain_stack` or of a batch
    target : folder to write, ``NAME.zarr``

    Raises
    ------
    InputError
        If the folder holds no results.
    UsageError
        If spatialdata is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            from spatialdata import SpatialData
            from spatialdata.models import TableModel
    except ImportError as error:
        raise UsageError(
            f"SpatialData needs the extra: {how_to_install('spatialdata')}."
        ) from error
    import pandas as pd

    images = images_of_run(run)
    tables, notes = [], []
    labels: dict[str, Any] = {}
    for image in images:
        system = "global" if len(images) == 1 else image.name
        table = pd.read_parquet(image.table)
        if image.labels is None:
            notes.append(f"The results of {image.name} hold no label image: its cells are rows.")
            tables.append(table)
            continue
        for wanted, rows, element in _elements(image, table, system):
            name = wanted if wanted not in labels else f"{wanted}_{len(labels)}"
            labels[name] = element
            tables.append(rows.assign(**{_REGION: name}))
    cells = cells_as_anndata(pd.concat(tables, ignore_index=True), run)
    if not notes:
        cells.obs[_REGION] = pd.Categorical(cells.obs[_REGION])
        cells = TableModel.parse(
            cells, region=list(labels), region_key=_REGION, instance_key=_INSTANCE
        )
    data = SpatialData(labels=labels, tables={"cells": cells})
    _write(data, target)
    return tuple(notes)


def _elements(
    image: ImageResult, table: pd.DataFrame, system: str
) -> Iterator[tuple[str, pd.DataFrame, Any]]:
    """Name, cells and label image of each field of an image."""
    assert image.labels is not None
    stack = open_stack(image.labels)
    n_times, _, n_planes = stack.data.shape[:3]
    plain = re.sub(r"[^\w.-]", "_", image.name)
    places = list(zip(table["t"].astype(int), table["z"].astype(str), strict=True))
    for t, z in sorted(set(places)):
        rows = table[[place == (t, z) for place in places]]
        is_plane = z.isdecimal() or n_planes == 1
        plane = int(z) if z.isdecimal() and n_planes > 1 else 0
        at = (f"_t{t}" if n_times > 1 else "") + (f"_z{plane}" if is_plane and n_planes > 1 else "")
        field = stack.data[t if n_times > 1 else 0, 0]
        yield plain + at, rows, _label_image(stack, field[plane] if is_plane else field, system)


def _label_image(stack: Stack, field: Any, system: str) -> Any:
    from spatialdata.models import Labels2DModel, Labels3DModel
    from spatialdata.transformations import Identity, Scale

    model, axes = (Labels2DModel, "yx") if field.ndim == 2 else (Labels3DModel, "zyx")
    sizes = stack.pixel_size_um[-field.ndim :]
    known = [size for size in sizes if size is not None]
    scaled = Scale(known, tuple(axes)) if len(known) == len(axes) else Identity()
    return model.parse(field, dims=tuple(axes), transformations={system: scaled})


def _write(data: Any, target: Path) -> None:
    """Write a folder that appears whole or not at all."""
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, about what it replaces in names of columns
            data.write(temporary)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
