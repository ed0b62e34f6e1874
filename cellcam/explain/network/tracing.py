"""One pass through a network, of which the outputs of all submodules are noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from cellcam.explain.network.outputs import Ending, items_of


@dataclass(frozen=True)
class Run:
    """A run of a submodule that returned a tensor."""

    name: str
    number: int  # among the runs of this submodule, from 1
    shape: torch.Size
    output: ReferenceType[Tensor]


@dataclass(frozen=True)
class Trace:
    """A pass of one image."""

    runs: list[Run]  # in the order in which they ended
    returns: dict[str, list[str]]  # types that each submodule returned
    returned: object
    ending: Ending

    @property
    def shapes(self) -> set[torch.Size]:
        """Shapes of all outputs."""
        return {run.shape for run in self.runs}

    def ends(self) -> list[Tensor]:
        """Tensors that are returned, or of which the returned one is the softmax."""
        found = [self.returned, *items_of(self.returned).values()]
        logits = [self.ending.in_front_of(item) for item in found if isinstance(item, Tensor)]
        return [tensor for tensor in [*found, *logits] if isinstance(tensor, Tensor)]


def traced(network: nn.Module, example: Tensor) -> Trace:
    """Run an image (1, C, *spatial), without gradients."""
    runs: list[Run] = []
    returns: dict[str, list[str]] = {}

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            returns.setdefault(name, []).append(type(output).__name__)
            if isinstance(output, Tensor):
                runs.append(Run(name, len(returns[name]), output.shape, ref(output)))

        return hook

    named = network.named_modules()
    handles = [module.register_forward_hook(hook_for(name)) for name, module in named if name]
    try:
        with torch.no_grad(), Ending() as ending:
            return Trace(runs, returns, network(example), ending)
    finally:
        for handle in handles:
            handle.remove()
