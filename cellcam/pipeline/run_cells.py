"""The cells of a run, of one image or of a batch, read back for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.exchange.cells import Cells, ImageFacts, Outline
from cellcam.exchange.measurements import measured_columns
from cellcam.exchange.tracing import outlines_of
from cellcam.pipeline.linked_cells import CELL_3D
from cellcam.pipeline.run_folder import RUN
from cellcam.reporting.colours import class_colours
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd

# Cells whose box begins in the same square of this edge are traced together.
_SQUARE = 4096
_REMARKS = ("flags", "differs", "model", "true class")
_NO_LABELS = (
    "The results of {} hold no label image: its cells were written as points. Outlines are in the "
    "label image that you gave (--labels)."
)


@dataclass(frozen=True)
class ImageResult:
    """Files of the results of one image.

    Attributes
    ----------
    table : ``NAME.cells.parquet``
    labels : label image, if there is one
    run : ``run.json``
    """

    name: str
    table: Path
    labels: Path | None
    run: Path


def images_of_run(run: Path) -> list[ImageResult]:
    """Images that a folder of `explain_stack` or of a batch holds results of, by name.

    Raises
    ------
    InputError
        If it holds none.
    """
    if (run / "images.csv").is_file():
        import pandas as pd

        folder = run / "images"
        merged = run / "cells.parquet"
        listed = pd.read_parquet(merged, columns=["image"]) if merged.is_file() else None
        names = [] if listed is None else sorted(set(map(str, listed["image"])))
    else:
        folder = run
        names = sorted(path.name.removesuffix(".cells.parquet") for path in _tables(run))
    if not names:
        raise InputError(
            f"{run} holds no cells. Name the output folder of a finished `cellcam explain` or "
            "`cellcam batch`."
        )
    leaving = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    if leaving:
        raise InputError(f"{run} names an image outside its folder, {leaving[0]}. Refused.")
    return [_result(folder, name, run) for name in names]


def cells_of(result: ImageResult) -> Cells:
    """The cells of an image with their outlines, calls and figures, see `cells_of_table`."""
    import pandas as pd

    labels = open_stack(result.labels) if result.labels else None
    table = pd.read_parquet(result.table)
    return cells_of_table(result.name, table, labels, _model_classes(result.run))


def cells_of_table(
    name: str, table: pd.DataFrame, labels: Stack | None, classes: Sequence[str] = ()
) -> Cells:
    """The cells of a cell table with their outlines, calls and figures.

    A cell of a volume has an outline, and so an entry, on each of its planes.

    Parameters
    ----------
    name : of the image
    table : see `cell_table`; a table without calls gives cells without classes
    labels : label image of all its fields; without it cells are points
    classes : of the model in its order, so that they have the colours of the reports
    """
    traced = list(_traced(table, labels) if labels else _points(table))
    rows = np.array([row for row, _, _ in traced], int)
    planes = np.array([plane for _, plane, _ in traced], np.int64).reshape(-1, 2)
    chosen = table.iloc[rows]
    called = _texts(chosen, "class") if "class" in chosen else [""] * len(chosen)
    numbers = chosen["label"].to_numpy(np.int64)
    return Cells(
        ids=tuple(_ids(name, planes, numbers)),
        numbers=numbers,
        planes=planes,
        centres=chosen[["x", "y"]].to_numpy(np.float64) + 0.5,
        outlines=tuple(outline for _, _, outline in traced),
        classes=tuple(called),
        colours=class_colours(list(classes) or sorted({*called} - {""})),
        measurements={
            column: chosen[column].to_numpy(np.float64)
            for column in [*measured_columns(chosen), CELL_3D]
            if column in chosen
        },
        remarks={column: _texts(chosen, column) for column in _REMARKS if column in chosen},
        image=_facts(name, labels, planes),
        notes=() if labels else (_NO_LABELS.format(name),),
    )


def _texts(table: pd.DataFrame, column: str) -> list[str]:
    return table[column].fillna("").astype(str).tolist()


def _tables(run: Path) -> Iterator[Path]:
    return run.glob("*.cells.parquet")


def _result(folder: Path, name: str, run: Path) -> ImageResult:
    files = [folder / f"{name}.labels.ome.{ending}" for ending in ("tif", "zarr")]
    earlier = run / f"{name}.{RUN}"
    return ImageResult(
        name,
        folder / f"{name}.cells.parquet",
        next((path for path in files if path.exists()), None),
        earlier if earlier.is_file() else run / RUN,
    )


def _traced(table: pd.DataFrame, labels: Stack) -> Iterator[tuple[int, tuple[int, int], Outline]]:
    """Row, time point and plane, and outline of every cell on every plane."""
    boxes = np.array([box.split(",") for box in table["bbox"]], int).reshape(len(table), 2, -1)
    n_times, _, n_planes = labels.data.shape[:3]
    places = list(zip(table["t"].astype(int), table["z"].astype(str), strict=True))
    for t, z in sorted(set(places)):
        cells = np.flatnonzero([place == (t, z) for place in places])
        number = int(z) if z.isdecimal() else 0
        for plane in range(n_planes) if n_planes > 1 and not z.isdecimal() else [number]:
            field = labels.data[t if n_times > 1 else 0, 0, plane if n_planes > 1 else 0]
            for square in _squares(cells, boxes):
                for row, outline in _in_square(square, boxes, field, table):
                    yield row, (t, plane), outline


def _squares(rows: NDArray[np.int64], boxes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of cells whose boxes begin in the same square."""
    places = boxes[rows, 0, -2:] // _SQUARE
    _, square = np.unique(places, axis=0, return_inverse=True)
    for number in range(int(square.max(initial=-1)) + 1):
        yield rows[square == number]


def _in_square(
    rows: NDArray[np.int64], boxes: NDArray[np.int64], field: da.Array, table: pd.DataFrame
) -> Iterator[tuple[int, Outline]]:
    """Row and outline of each of these cells that is in a field; it is read around them."""
    top, left = boxes[rows, 0, -2:].min(axis=0)
    bottom, right = boxes[rows, 1, -2:].max(axis=0)
    outlines = outlines_of(np.asarray(field[top:bottom, left:right]))
    corner = np.array([left, top])
    for row, label in zip(rows.tolist(), table["label"].iloc[rows].tolist(), strict=True):
        if label in outlines:
            moved = [[ring + corner for ring in polygon] for polygon in outlines[label]]
            yield row, moved


def _points(table: pd.DataFrame) -> Iterator[tuple[int, tuple[int, int], Outline]]:
    for row, (t, z) in enumerate(zip(table["t"], table["z"], strict=True)):
        yield row, (int(t), int(z) if z.isdecimal() else 0), []


def _ids(name: str, planes: NDArray[np.int64], numbers: NDArray[np.int64]) -> Iterator[str]:
    """The same cell of the same image has the same UUID in every export."""
    for (t, z), number in zip(planes.tolist(), numbers.tolist(), strict=True):
        yield str(uuid5(NAMESPACE_OID, f"cellcam {name} {t} {z} {number}"))


def _facts(name: str, labels: Stack | None, planes: NDArray[np.int64]) -> ImageFacts:
    n_times, n_planes = (planes.max(axis=0, initial=0) + 1).tolist()
    if labels is None:
        return ImageFacts(name, None, n_times, n_planes)
    shape, size = labels.data.shape, labels.pixel_size_um
    return ImageFacts(
        name,
        (shape[3], shape[4]),
        max(n_times, shape[0]),
        max(n_planes, shape[2]),
        (size.y, size.x) if size.y and size.x else None,
    )


def _model_classes(run: Path) -> list[str]:
    """Classes of the model in its order; none where they are not known."""
    try:
        return [str(name) for name in json.loads(run.read_text("utf-8"))["model"]["classes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
