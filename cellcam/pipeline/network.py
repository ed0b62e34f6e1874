"""The network's part of a batch: items of one process take turns at it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.models.bundle import load_model
from cellcam.models.device import give_back_memory
from cellcam.pipeline.choices import Job
from cellcam.pipeline.field import FieldResult, classify_fields, explain_fields
from cellcam.pipeline.found_field import FoundField

if TYPE_CHECKING:
    from cellcam.models.model import CellModel

# While one item is at the network, others read and find.
_TURN = threading.Lock()


def explained_fields(found: Sequence[FoundField], job: Job) -> list[FieldResult]:
    """Classify all cells and explain those that are chosen, one item of this process at a time."""
    with _TURN:
        give_back_memory()  # that finding needed
        model = _model(job.model, job.device, job.fingerprint)
        fields = classify_fields(found, model)
        chosen = [chosen_cells(field, job.choices.explained) for field in fields]
        results = explain_fields(fields, model, job.choices.classes, chosen)
    give_back_memory()  # that the network needed
    return results


def chosen_cells(field: FoundField, part: float) -> NDArray[np.bool_]:
    """Which cells are explained: (N,). A cell is chosen by its place, whatever block sees it."""
    if part >= 1:
        return np.ones(len(field.cells), np.bool_)
    drawn = [sha256(centre.tobytes()).digest()[:4] for centre in field.cells.centres]
    numbers = np.array([int.from_bytes(one, "big") for one in drawn], np.float64)
    return numbers < part * 2.0**32


@lru_cache(1)
def _model(folder: Path, device: str, fingerprint: str) -> CellModel:
    # Else MKL's matrix products depend on the number of threads, in the last bit: a shard would
    # not give the tables of a cluster. Read when MKL is first called; costs nothing measurable.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    return load_model(folder, device)
