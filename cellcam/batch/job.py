"""The job: everything that all items of a batch share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

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
    fingerprint : hash of the request, the model and the software: with the inputs, all that
        results depend on
    """

    request: Request
    model: Path
    out: Path
    device: str
    engine: str
    fingerprint: str

    @classmethod
    def of(
        cls, request: Request, model: Path, out: Path, device: str, engine: str = "torch"
    ) -> Job:
        """A job for this version of the software."""
        spec = read_spec(model).model_dump(mode="json")
        fingerprint = digest([spec, request.description(), engine, software_version(engine)])
        return cls(request, model.absolute(), out.absolute(), device, engine, fingerprint)

    @property
    def spec(self) -> ModelSpec:
        """Description of the model."""
        return _spec(self.model, self.fingerprint)

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


@lru_cache(4)
def _spec(model: Path, fingerprint: str) -> ModelSpec:
    return read_spec(model)
