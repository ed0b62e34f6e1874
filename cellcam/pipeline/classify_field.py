"""Step 2: call the cells of a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.models.model import CellModel
from cellcam.models.unlike import Unlikeness
from cellcam.pipeline.cell_table import CellEvidence, cell_table
from cellcam.pipeline.find_field import FoundCells
from cellcam.pipeline.notes import stretched_notes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class CalledCells:
    """The cells of a field with their calls, ready to be explained.

    Attributes
    ----------
    found : the N cells and their crops
    model : the classifier
    probabilities : (N, n_classes), calibrated; NaN for cells that cannot be called
    unlike : how unlike the model's training cells each cell is; NaN likewise
    about_counts : what the counts of the crops tell about the image, see `stretched_notes`
    """

    found: FoundCells
    model: CellModel
    probabilities: NDArray[np.float32]
    unlike: Unlikeness
    about_counts: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know about the image and how its cells were found."""
        return (*self.found.stack.notes, *self.found.notes, *self.about_counts)

    @property
    def is_called(self) -> NDArray[np.bool_]:
        """(N,) whether the cell has a call."""
        return np.asarray(~np.isnan(self.probabilities).any(axis=1))

    def table(self, evidence: CellEvidence | None = None) -> pd.DataFrame:
        """Cell table, see `cell_table`; without evidence its columns are NaN."""
        if evidence is None:
            evidence = CellEvidence.unknown(len(self.found.cells), len(self.model.spec.channels))
        return cell_table(self.found, self.model.spec, self.probabilities, evidence, self.unlike)


def classify_fields(found: Sequence[FoundCells], model: CellModel) -> list[CalledCells]:
    """Call the cells of several fields that can be called; they share the network's batches."""
    crops = np.concatenate([field.crops[field.can_be_called] for field in found])
    counts = [int(field.can_be_called.sum()) for field in found]
    parts = np.split(model.probabilities(crops), np.cumsum(counts)[:-1])
    return [_called(field, model, part) for field, part in zip(found, parts, strict=True)]


def _called(found: FoundCells, model: CellModel, probabilities: NDArray[np.float32]) -> CalledCells:
    """The cells of a field with the calls of those that can be called."""
    chosen = found.can_be_called
    crops = found.crops if chosen.all() else found.crops[chosen]
    unlike, notes = model.unlike(crops), tuple(stretched_notes(crops, model.spec))
    if chosen.all():
        return CalledCells(found, model, probabilities, unlike, notes)
    spread = np.full((len(chosen), probabilities.shape[1]), np.nan, np.float32)
    spread[chosen] = probabilities
    return CalledCells(found, model, spread, unlike.among(chosen), notes)
