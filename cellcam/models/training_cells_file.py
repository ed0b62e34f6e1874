"""The file of a model folder that holds the measures of its training cells."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cellcam.errors import ModelError
from cellcam.models.appearance import Measures
from cellcam.models.folder_files import COPY_AGAIN, read_tensors
from cellcam.models.spec import KnownCells, ModelSpec
from cellcam.models.training_cells import TrainingCells
from cellcam.stacks.writing import whole_file

TRAINING_CELLS = Path("models/training_cells.safetensors")
_MOST_BYTES = 2**28


def write_training_cells(folder: Path, cells: TrainingCells) -> KnownCells:
    """Write the measures; returns what the description says about them."""
    from safetensors.numpy import save

    content = save({"reference": cells.reference, "whitening": cells.whitening})
    with whole_file(folder / TRAINING_CELLS) as temporary:
        temporary.write_bytes(content)
    return KnownCells(
        farthest=cells.farthest,
        sparsest=cells.sparsest,
        false_alarms=cells.false_alarms,
        sha256=hashlib.sha256(content).hexdigest(),
        images=cells.images,
    )


def read_training_cells(folder: Path, spec: ModelSpec) -> TrainingCells | None:
    """The measures of a model's training cells; None for folders that state none.

    Raises
    ------
    ModelError
        If the file is missing, is another one than described, or does not fit the model.
    """
    from safetensors.numpy import load

    known, path = spec.known_cells, folder / TRAINING_CELLS
    if known is None:
        return None
    tensors = read_tensors(path, known.sha256, _MOST_BYTES, load)
    try:
        reference, whitening = tensors["reference"], tensors["whitening"]
    except KeyError as error:
        raise ModelError(
            f"{path} is no file of measures: {error} is missing. {COPY_AGAIN}"
        ) from error
    shape = (len(spec.channels), len(Measures._fields))
    flat = shape[0] * shape[1]
    fits = reference.shape[1:] == shape and len(reference) > 1 and whitening.shape == (flat, flat)
    if not fits or not all(
        a.dtype == np.float32 and np.isfinite(a).all() for a in (reference, whitening)
    ):
        raise ModelError(f"{path} does not fit the model. {COPY_AGAIN}")
    return TrainingCells(
        reference, whitening, known.farthest, known.sparsest, known.false_alarms, known.images
    )
