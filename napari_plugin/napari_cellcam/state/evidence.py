"""Importance maps of all cells of a session. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.progress import Progress
    from cellcam.request import Classes
    from napari_cellcam.state.session import Session

Maps = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class EvidenceMaps:
    """Importance maps of all cells.

    Attributes
    ----------
    maps : importance for each class, on the axes of `Session.kept_axes`; of several classes, those
        without any importance are left out
    largest : largest importance in all maps
    table : cell table with its columns about evidence, see `cell_table`
    """

    maps: Maps
    largest: float
    table: pd.DataFrame


def explain_session(session: Session, classes: Classes, progress: Progress) -> EvidenceMaps:
    """Importance of all cells for some classes, see `Request`."""
    import pandas as pd

    from cellcam.pipeline.explain_field import explain_fields

    assert session.model is not None
    request = session.request.with_classes(classes)
    results = []
    for called, first in zip(session.called, session.first_rows, strict=False):
        report = partial(_report, progress, int(first), len(session.table))
        results += explain_fields([called], session.model, request, report)
    names = results[0].classes
    maps = {
        name: session.on_axes([result.maps[i] for result in results])
        for i, name in enumerate(names)
    }
    largest = {name: float(image.max()) for name, image in maps.items()}
    shown = {name: maps[name] for name in names if largest[name] > 0 or len(names) == 1}
    table = pd.concat([result.cells for result in results], ignore_index=True)
    return EvidenceMaps(shown, max(largest.values()), table)


def _report(
    progress: Progress, before: int, total: int, done: int, _total: int, _note: str = ""
) -> None:
    progress(before + done, total)
