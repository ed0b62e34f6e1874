"""Checkpoints: the state from which an interrupted training continues to the same weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cellcam.errors import InputError
from cellcam.models.foreign_weights import read_state
from cellcam.stacks.writing import whole_file

CHECKPOINT = "checkpoint.pt"


class Stateful(Protocol):
    """Part of a training with a state, as in torch."""

    def state_dict(self) -> Any:
        """State that `torch.load` reads with ``weights_only=True``."""

    def load_state_dict(self, state: Any, /) -> object:
        """Restore a state."""


def save_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> None:
    """Write the states of all parts."""
    content = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in parts.items()}, content)
    # Written here: torch says that the disk is full in a way that cannot be recognised.
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> None:
    """Restore the states of all parts.

    Raises
    ------
    InputError
        If the file is damaged, or is no checkpoint of this training.
    """
    way_out = "Delete it, and the training begins anew."
    state = read_state(path, way_out)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is no checkpoint of this training: {error}. {way_out}") from error


class RandomState:
    """State of the training's generator, and of torch's default generators.

    On a GPU dropout draws from the generator of that device.
    """

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def state_dict(self) -> dict[str, Tensor]:
        """States of the generators."""
        states = {"own": self.generator.get_state(), "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the generators; a training that goes on elsewhere has no state for its device."""
        self.generator.set_state(state["own"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)


class NoState:
    """Placeholder of a part that this training does not have."""

    def state_dict(self) -> dict[str, Tensor]:
        """Empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Do nothing."""
