"""The job: everything that all items of a batch share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cellcam.errors import CellCamError, ModelError, StoppedError
from cellcam.models.bundle import read_spec
from cellcam.models.spec import ModelSpec
from cellcam.request import Request
from cellcam.versions import software_version


@dataclass(frozen=True)
class Job:
    """A request for many images, with the model and the folder of the results.

    Attributes
    ----------
    model : folder
    out : folder of the results
    device : see `choose_device`
    engine : of calls: torch or openvino
    description : hash of the model's description, which holds the hashes of its other files
    fingerprint : hash of the request, the model and the software: with the inputs, all that
        results depend on
    """

    request: Request
    model: Path
    out: Path
    device: str
    engine: str
    description: str
    fingerprint: str

    @classmethod
    def of(
        cls, request: Request, model: Path, out: Path, device: str, engine: str = "torch"
    ) -> Job:
        """A job for this version of the software."""
        spec = read_spec(model)
        plain = spec.model_dump(mode="json")
        fingerprint = digest([plain, request.description(), engine, software_version(engine)])
        places = model.absolute(), out.absolute()
        return cls(request, *places, device, engine, description_hash(spec), fingerprint)

    @property
    def spec(self) -> ModelSpec:
        """Description of the model.

        Raises
        ------
        StoppedError
            If it was lost or changed since the run began.
        """
        return _spec(self.model, self.description)

    @property
    def parts(self) -> Path:
        """Folder of the records, and of what is not a result yet."""
        return self.out / "parts"

    @property
    def images(self) -> Path:
        """Folder of the results of each image."""
        return self.out / "images"


def digest(content: object) -> str:
    """Hash of plain data, used as a name: equal content has equal names."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]


def description_hash(spec: ModelSpec) -> str:
    """Hash of the description of a model."""
    return digest(spec.model_dump(mode="json"))


def check_description(spec: ModelSpec, model: Path, expected: str) -> None:
    """Raise `ModelError` if a model is not the one that the run began with."""
    if description_hash(spec) != expected:
        raise ModelError(f"{model} holds another model than when the run began.")


def lost_model(error: CellCamError) -> StoppedError:
    """Error for a model that could be used when the run began, and cannot be used any more."""
    return StoppedError(
        f"The model could be used when the run began, but not any more, or not by every worker: "
        f"{error} What is done is kept. With the same model in its place, the same command goes on."
    )


@lru_cache(4)
def _spec(model: Path, description: str) -> ModelSpec:
    try:
        spec = read_spec(model)
        check_description(spec, model, description)
    except ModelError as error:
        raise lost_model(error) from error
    return spec
