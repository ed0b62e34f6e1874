"""The model of a worker process: its threads take turns at it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.batch.executors import end_broken_process
from cellcam.batch.job import Job, check_description, lost_model
from cellcam.errors import ModelError, UsageError
from cellcam.models.bundle import load_model
from cellcam.models.device import give_back_memory
from cellcam.pipeline.classify_field import classify_fields
from cellcam.pipeline.explain_field import FieldResult, explain_fields
from cellcam.pipeline.find_field import FoundCells

if TYPE_CHECKING:
    from cellcam.models.model import CellModel

# While one thread computes, others read images and find cells.
_TURN = threading.Lock()


def call_and_explain(found: Sequence[FoundCells], job: Job) -> list[FieldResult]:
    """Classify all cells and explain the part that is asked for, one item at a time."""
    with _TURN:
        give_back_memory()  # that finding cells needed
        model = _model_of(job)
        results = explain_fields(classify_fields(found, model), model, job.request)
    give_back_memory()  # that the network needed
    return results


def explain_cell(found: FoundCells, label: int, call: str, job: Job) -> FieldResult:
    """Explain one of the cells for one class, whatever part of the cells the job explains."""
    with _TURN:
        model = _model_of(job)
        called = classify_fields([found], model)
        request = replace(job.request, classes=(call,))
        chosen = [found.cells.numbers == label]
        return explain_fields(called, model, request, chosen=chosen)[0]


def why_no_model(job: Job) -> ModelError | UsageError | None:
    """Why this process cannot use the job's model, with its device and engine; None if it can."""
    with _TURN:
        _model.cache_clear()  # its files may be lost since an earlier run in this process
        try:
            _loaded(job)
        except (ModelError, UsageError) as error:
            return error
        except Exception as error:
            end_broken_process(error)
            raise
    return None


def _model_of(job: Job) -> CellModel:
    """The model.

    Raises
    ------
    StoppedError
        If this process cannot use the model, engine or device that another one could.
    """
    try:
        return _loaded(job)
    except (ModelError, UsageError) as error:
        raise lost_model(error) from error


def _loaded(job: Job) -> CellModel:
    return _model(job.model, job.device, job.engine, job.description)


@lru_cache(1)
def _model(folder: Path, device: str, engine: str, description: str) -> CellModel:
    # Without it the last bit of MKL's matrix products depends on the number of threads, and a
    # shard would not give the tables of a cluster. Read when MKL is first called; costs nothing
    # that can be measured.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    model = load_model(folder, device, engine)
    check_description(model.spec, folder, description)
    return model
