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

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class CalledCells:
    """The cells of a field with their calls, ready to be explained.

    Attributes
    ----------
    found : the N cells and their crops
    model : the classifier
    probabilities : (N, n_classes), calibrated
    unlike : how unlike the model's training cells each cell is
    """

    found: FoundCells
    model: CellModel
    probabilities: NDArray[np.float32]
    unlike: Unlikeness

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know about the image and how its cells were found."""
        return (*self.found.stack.notes, *self.found.notes)

    def table(self, evidence: CellEvidence | None = None) -> pd.DataFrame:
        """Cell table, see `cell_table`; without evidence its columns are NaN."""
        if evidence is None:
            evidence = CellEvidence.unknown(len(self.found.cells), len(self.model.spec.channels))
        return cell_table(self.found, self.model.spec, self.probabilities, evidence, self.unlike)


def classify_fields(found: Sequence[FoundCells], model: CellModel) -> list[CalledCells]:
    """Call the cells of several fields; they share the network's batches."""
    counts = [len(field.crops) for field in found]
    crops = np.concatenate([field.crops for field in found])
    parts = np.split(model.probabilities(crops), np.cumsum(counts)[:-1])
    return [
        CalledCells(field, model, part, model.unlike(field.crops))
        for field, part in zip(found, parts, strict=True)
    ]
