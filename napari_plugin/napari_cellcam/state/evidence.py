"""Importance maps of all cells of a session, and the grey image under them. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.state.differences import difference_names
from napari_cellcam.state.grey_image import grey_image

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.pipeline.classify_field import CalledCells
    from cellcam.pipeline.explain_field import FieldResult
    from cellcam.progress import Progress
    from cellcam.request import Classes
    from napari_cellcam.state.explanation_choices import ExplanationChoices
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
    table : cell table with its columns about evidence, see `cell_table`; empty values for cells
        that were not explained
    rows : of the cells that were explained; None: all
    choices : how they were explained
    about : which cells and how, in words, where that is not all cells as the model says
    stains : of the model
    differences : signed maps, by the names of `difference_names`; computed when they are asked for
    typical : of these, see `DifferenceMaps`
    """

    maps: Maps
    grey: NDArray[np.uint8]
    table: pd.DataFrame
    rows: tuple[int, ...] | None
    choices: ExplanationChoices
    about: str
    stains: tuple[str, ...]
    differences: Maps = field(default_factory=dict)
    typical: dict[str, float] = field(default_factory=dict)

    @cached_property
    def largest(self) -> dict[str, float]:
        """Largest importance of each of ``maps``."""
        return {name: float(image.max(initial=0)) for name, image in self.maps.items()}

    @property
    def names(self) -> list[str]:
        """All maps that can be shown, computed already or not yet."""
        return [*self.maps, *difference_names(self.stains)]

    @property
    def n_explained(self) -> int:
        """Number of cells that were explained."""
        return len(self.table) if self.rows is None else len(self.rows)


def explain_session(
    session: Session, classes: Classes, rows: Sequence[int] | None, progress: Progress
) -> EvidenceMaps:
    """Importance of cells for some classes.

    Parameters
    ----------
    classes : see `Request`
    rows : of the session's table; None: all cells
    """
    import pandas as pd

    from cellcam.pipeline.explain_field import explain_fields

    choices = session.explaining
    request = replace(session.request.with_classes(classes), rtol=choices.rtol)
    explained = session.can_be_called.copy()
    if rows is not None:
        explained[:] = False
        explained[list(rows)] = True
        explained &= session.can_be_called
    results: list[FieldResult] = []
    before = 0
    for called, chosen in zip(session.called, session.by_field(explained), strict=True):
        results += explain_fields(
            [called],
            session.explainer,
            request,
            partial(_report, progress, before, int(explained.sum())),
            chosen=[chosen],
            n_steps=choices.n_steps,
        )
        before += int(chosen.sum())
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
    which = None if explained.all() else tuple(map(int, np.flatnonzero(explained)))
    about = _about(session, which)
    found = EvidenceMaps(maps, grey, table, which, choices, about, session.spec.channels)
    _ = found.largest  # computed here, not later in the GUI thread
    return found


def _about(session: Session, rows: tuple[int, ...] | None) -> str:
    """What is special about the evidence, in words."""
    few = "" if rows is None else f"Only {len(rows)} of {len(session.table)} cells"
    return "; ".join(part for part in (few, session.settings_text) if part)


def _own_call(result: FieldResult, called: CalledCells) -> NDArray[np.float32]:
    """At each pixel the importance for the call of the cell that the pixel belongs to."""
    from cellcam.cells.cropping import nearest_cells
    from cellcam.cells.numbering import by_label

    if len(result.classes) == 1:
        return result.maps[0]
    found = called.found
    scale = np.array(found.read.whole) / found.shape_at_scale
    reach = [round(n * float(scale.max())) for n in found.spec.crop_size]
    calls = np.nan_to_num(called.probabilities).argmax(1)
    owner = nearest_cells(result.labels, reach)
    plane = by_label(owner, found.cells.numbers, calls).astype(np.intp)
    return np.take_along_axis(result.maps, plane[None], axis=0)[0]


def _report(
    progress: Progress, before: int, total: int, done: int, _total: int, _note: str = ""
) -> None:
    progress(before + done, total)
