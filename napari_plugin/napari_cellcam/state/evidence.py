"""Importance maps of all cells of a session, and the grey image under them. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.state.grey_image import grey_image

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.pipeline.classify_field import CalledCells
    from cellcam.pipeline.explain_field import FieldResult
    from cellcam.progress import Progress
    from cellcam.request import Classes
    from napari_cellcam.state.session import Session

Maps = dict[str, NDArray[np.float32]]

# Name of the map that shows for each cell the evidence for its own call.
OWN_CALL = "each cell's call"


@dataclass(frozen=True, eq=False)
class EvidenceMaps:
    """Importance maps of all cells.

    Attributes
    ----------
    maps : importance on the axes of `Session.kept_axes`, for `OWN_CALL` and for each class that
        was explained and has any importance
    grey : the image in dim grey, uint8, on the same axes
    table : cell table with its columns about evidence, see `cell_table`
    """

    maps: Maps
    grey: NDArray[np.uint8]
    table: pd.DataFrame


def explain_session(session: Session, classes: Classes, progress: Progress) -> EvidenceMaps:
    """Importance of all cells for some classes, see `Request`."""
    import pandas as pd

    from cellcam.pipeline.explain_field import explain_fields

    assert session.model is not None
    request = session.request.with_classes(classes)
    results: list[FieldResult] = []
    for called, first in zip(session.called, session.first_rows, strict=False):
        report = partial(_report, progress, int(first), len(session.table))
        results += explain_fields([called], session.model, request, report)
    maps: Maps = {}
    if isinstance(classes, str):  # every cell was explained for its own call, at least
        fields = zip(results, session.called, strict=True)
        maps[OWN_CALL] = session.on_axes([_own_call(result, called) for result, called in fields])
    for i, name in enumerate(results[0].classes):
        image = session.on_axes([result.maps[i] for result in results])
        if image.any() or not isinstance(classes, str):
            maps[name] = image
    grey = grey_image(session)
    table = pd.concat([result.cells for result in results], ignore_index=True)
    if session.is_by_plane:
        from cellcam.pipeline.linked_cells import CELL_3D

        table[CELL_3D] = session.cells_3d
    return EvidenceMaps(maps, grey, table)


def _own_call(result: FieldResult, called: CalledCells) -> NDArray[np.float32]:
    """At each pixel the importance for the call of the cell that the pixel belongs to."""
    from cellcam.cells.cropping import nearest_cells

    if len(result.classes) == 1:
        return result.maps[0]
    found = called.found
    scale = np.array(found.read.whole) / found.shape_at_scale
    reach = [round(n * float(scale.max())) for n in found.spec.crop_size]
    index = np.zeros(int(result.labels.max(initial=0)) + 1, np.intp)
    index[found.cells.numbers] = called.probabilities.argmax(1)
    plane = index[nearest_cells(result.labels, reach)]
    return np.take_along_axis(result.maps, plane[None], axis=0)[0]


def _report(
    progress: Progress, before: int, total: int, done: int, _total: int, _note: str = ""
) -> None:
    progress(before + done, total)
