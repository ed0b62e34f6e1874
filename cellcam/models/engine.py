"""Engines compute class scores for calls: torch, or OpenVINO on a CPU. Explanations use torch.

Why OpenVINO, when it is chosen, and what was measured: docs/decisions/0021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from cellcam.explain.memory import Batches
from cellcam.versions import package_versions

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cellcam.explain.network.execution import Execution

_BATCH = 256
# A CPU is slower with more, which its caches do not hold, and answers sooner with fewer.
_BATCH_ON_CPU = 32


@dataclass(frozen=True)
class EngineFacts:
    """What ``run.json`` says about an engine.

    Attributes
    ----------
    name, version : of the package that computes
    """

    name: str
    version: str


def facts_of(engine: str) -> EngineFacts:
    """Facts of torch or openvino."""
    return EngineFacts(engine, package_versions([engine])[engine])


class Engine(Protocol):
    """Computes class scores for calls.

    Attributes
    ----------
    facts : what ``run.json`` says about it
    batches : number of crops to give it at once
    """

    facts: EngineFacts
    batches: Batches

    def scores(self, x: Tensor) -> Tensor:
        """Class scores (N, n_classes) float32 of normalised crops (N, C, *crop_size) float32."""


class TorchEngine:
    """The network itself, on any device.

    Parameters
    ----------
    input_shape : (C, *crop_size)
    """

    def __init__(
        self, network: nn.Module, device: torch.device, input_shape: tuple[int, ...]
    ) -> None:
        self.facts = facts_of("torch")
        self.batches = Batches(_BATCH_ON_CPU if device.type == "cpu" else _BATCH)
        self._network, self._device, self._input_shape = network, device, input_shape

    def scores(self, x: Tensor) -> Tensor:
        """See `Engine`."""
        from cellcam.explain.network.execution import repeatable

        with repeatable(), self._execution.active(self._device):
            return self._network(self._execution.laid_out(x)).float()

    @cached_property
    def _execution(self) -> Execution:
        """How the network runs fastest here with its own precision."""
        import torch

        from cellcam.explain.network.execution import usual_execution

        one = torch.zeros(1, *self._input_shape, device=self._device)

        def run(way: Execution) -> None:
            with way.active(self._device):
                self._network(way.laid_out(one))

        return usual_execution(run, self._device)
