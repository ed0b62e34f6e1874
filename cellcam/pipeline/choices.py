"""What a user asks of a batch, and what its results depend on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cellcam.models.bundle import read_spec
from cellcam.models.spec import ModelSpec
from cellcam.pipeline.field import Classes
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack, ZChoice
from cellcam.versions import code_version


@dataclass(frozen=True)
class Choices:
    """How every image of a batch is worked on; the options of ``cellcam explain``.

    Attributes
    ----------
    classes : see `explain_field`
    explained : part of the cells that are explained, 0 to 1; all are classified
    """

    classes: Classes = "predicted"
    z: ZChoice = None
    axes: str | None = None
    channels: tuple[str, ...] | None = None
    mapping: tuple[tuple[str, str], ...] = ()
    pixel_size_um: float | None = None
    series: int | None = None
    find_channel: str | None = None
    diameter_um: float | None = None
    threshold: float | None = None
    explained: float = 1.0

    def opened(self, path: Path, name: str) -> Stack:
        """One image as these choices say, under the name of its results."""
        from dataclasses import replace

        stack = open_stack(
            path, axes=self.axes, channels=self.channels, pixel_size_um=self.pixel_size_um,
            series=self.series,
        )  # fmt: skip
        return replace(stack, name=name)

    def finding(self) -> dict[str, Any]:
        """Keyword arguments for `find_field`."""
        return {
            "channels": dict(self.mapping),
            "find_channel": self.find_channel,
            "diameter_um": self.diameter_um,
            "threshold": self.threshold,
        }


@dataclass(frozen=True)
class Job:
    """What all items of a run share.

    Attributes
    ----------
    model : folder
    out : folder of the results
    device : see `choose_device`
    fingerprint : of all that the results depend on besides their inputs: model, choices, code
    """

    choices: Choices
    model: Path
    out: Path
    device: str
    fingerprint: str

    @classmethod
    def of(cls, choices: Choices, model: Path, out: Path, device: str) -> Job:
        """A job in this version of the code."""
        spec = read_spec(model).model_dump(mode="json")
        told = [spec, asdict(choices), code_version()]
        return cls(choices, model.absolute(), out.absolute(), device, digest(told))

    @property
    def spec(self) -> ModelSpec:
        """The model's description."""
        return _spec(self.model, self.fingerprint)

    @property
    def parts(self) -> Path:
        """Folder of what has been done."""
        return self.out / "parts"


def digest(content: Any) -> str:
    """A name for plain data: the same content has the same."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]


@lru_cache(4)
def _spec(model: Path, fingerprint: str) -> ModelSpec:
    return read_spec(model)
