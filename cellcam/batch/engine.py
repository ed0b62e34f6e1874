"""The engine of a batch's calls: chosen once, for all items and for every run that goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from cellcam.batch.images import InputImage
from cellcam.batch.job import Job, digest
from cellcam.batch.shared_model import why_no_openvino
from cellcam.errors import UsageError
from cellcam.models.engine import EngineFacts, facts_of
from cellcam.models.engine_choice import engine_for, is_installed
from cellcam.stacks.writing import write_json
from cellcam.versions import software_version

_FILE = "engine.json"


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a batch.

    Attributes
    ----------
    name : torch or openvino
    reason : why it was chosen, where another one could have been
    said : whether the user is told the reason
    """

    name: str
    reason: str = ""
    said: bool = False

    @property
    def facts(self) -> EngineFacts:
        """What ``run.json`` says about it."""
        return facts_of(self.name, self.reason)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the user is told."""
        return (f"Calls were computed by {self.name}: {self.reason}.",) if self.said else ()


def choose_for_batch(
    engine: str, images: Sequence[InputImage], job: Job, pool: Executor
) -> EngineChoice:
    """Choose the engine of all items, and write the choice into the folder.

    ``"auto"`` goes on with the engine of an earlier run of this model and software in the folder.
    Else it is OpenVINO where the image files are large enough and a worker can use it.

    Parameters
    ----------
    engine : name of an engine, or ``"auto"``
    job : with any engine

    Raises
    ------
    UsageError
        If the engine that was asked for by name cannot be used.
    """
    choice = _fresh_choice(engine, images)
    earlier = _earlier_choice(job)
    if engine == "auto" and earlier is not None:
        if earlier == choice.name:
            choice = EngineChoice(earlier)
        else:
            choice = EngineChoice(earlier, "as in the earlier run in this folder", said=True)
    elif choice.name != "torch" and choice.name != earlier:
        trial = pool.submit(why_no_openvino, job.with_engine(choice.name), engine != "auto")
        if reason := trial.result():
            if engine != "auto":
                raise UsageError(reason)
            choice = EngineChoice("torch", reason.rstrip("."), said=True)
    about = {"engine": choice.name, "for": _model_and_software(job, choice.name)}
    write_json(job.parts / _FILE, about)
    return choice


def _fresh_choice(engine: str, images: Sequence[InputImage]) -> EngineChoice:
    """The engine if no earlier run had chosen one; a worker may still be unable to use it."""
    known = engine_for(engine, sum(image.file.size for image in images))
    if known != "auto":
        return EngineChoice(known)
    if not is_installed():
        return EngineChoice("torch", "OpenVINO is not installed")
    return EngineChoice("openvino")


def _earlier_choice(job: Job) -> str | None:
    """Engine of an earlier run in the folder, of the same model and the same software."""
    try:
        found = json.loads((job.parts / _FILE).read_text("utf-8"))
        name = str(found["engine"])
        return name if found["for"] == _model_and_software(job, name) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _model_and_software(job: Job, engine: str) -> str:
    return digest([job.spec.model_dump(mode="json"), software_version(engine)])
