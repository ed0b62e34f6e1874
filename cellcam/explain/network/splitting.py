"""Trunk and head of a network at its target layer.

The network is never taken apart: a forward hook on the target layer ends the pass, or turns
autograd on for the head. So functional layers, skip connections and in-place operations behave as
in the network itself, and the trunk never records a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cellcam.explain.network.cuts import NothingCut
from cellcam.explain.network.execution import Execution
from cellcam.explain.network.layouts import Layout
from cellcam.explain.network.needed_rows import NeededRows, Rows
from cellcam.explain.network.outputs import Ending, Output


class _TrunkDoneError(Exception):
    """Ends a pass at the target layer."""


class Pass(NamedTuple):
    """Values of one pass through trunk and head."""

    activations: Tensor  # output of the layer, detached
    leaf: Tensor  # the head's input: the activations, or their means over space if pooled
    scores: Tensor  # (N, n_classes), which can be differentiated by the leaf


@dataclass(frozen=True)
class SplitNetwork:
    """A network in evaluation mode, seen as trunk and head; made by `split_network`."""

    network: nn.Module
    layer_name: str  # the target layer, where the trunk ends
    run: int  # of the layer at which the network is split, from 1
    device: torch.device
    dtype: torch.dtype | None  # None where the parameters are of several types
    layout: Layout  # of the layer's output
    output: Output
    n_classes: int
    execution: Execution = field(default_factory=Execution)
    pooled: bool = False  # whether the head sees only each feature's mean over space
    # Whether values without a place belong to the layer, and nothing bypasses it.
    closed: bool = False
    uncut: bool = False  # whether `detach` and `no_grad` in the head are passed over
    rows: tuple[Rows | None, ...] = ()  # of the head's calls, see `NeededRows`

    def activations(self, x: Tensor) -> Tensor:
        """Output of the layer, detached; the head does not run."""
        kept: list[Tensor] = []

        def stop(activation: Tensor) -> Tensor:
            # A copy: the layer may return a view that the network writes into.
            kept.append(activation.detach().clone())
            raise _TrunkDoneError

        with torch.no_grad(), suppress(_TrunkDoneError), self._at_layer(stop):
            self.network(self._prepared(x))
        return at_least_float32(kept[0])

    def scores(self, x: Tensor) -> Pass:
        """Pass through trunk and head; the scores can be differentiated by the leaf."""
        kept: list[Tensor] = []

        def start_autograd(activation: Tensor) -> Tensor:
            # A copy where the network may write into its tensor and the leaf is another one.
            copied = self.pooled or activation.is_inference()
            kept.append(activation.detach().clone() if copied else activation.detach())
            leaf = self.layout.means(kept[0]) if self.pooled else kept[0].detach()
            kept.append(leaf.requires_grad_())
            return kept[1].clone()  # the head may work in place, which a leaf forbids

        scores = self._pass(x, len(x), start_autograd)
        with torch.enable_grad():
            return Pass(at_least_float32(kept[0]), kept[1], at_least_float32(scores))

    def head(self, x: Tensor, activations: Tensor) -> Tensor:
        """Scores (M, n_classes) of the head for any M activations; ``x`` only feeds the trunk."""

        def substitute(activation: Tensor) -> Tensor:
            return activations.to(activation.dtype, copy=True)

        return self._pass(x, activations.shape[self.layout.image_axis], substitute)

    def _pass(self, x: Tensor, n_images: int, action: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores, with the output of the layer replaced by ``action``."""
        with ExitStack() as within:
            within.enter_context(torch.no_grad())
            ending = within.enter_context(Ending()) if self.output.in_front else None
            within.enter_context(self._at_layer(action))
            returned = self.network(self._prepared(x))
            return self.output.scores(returned, n_images, ending)

    @contextmanager
    def _at_layer(self, action: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it, ``action`` replaces the output of the layer's run."""
        runs, whole = count(1), NothingCut() if self.uncut else None
        needed = NeededRows(self.rows) if self.rows else nullcontext()

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            if next(runs) != self.run:
                return None
            if whole:
                whole.on = True
            with torch.inference_mode(False):  # autograd is on, too
                replaced = action(output)
            torch.set_grad_enabled(True)
            return replaced

        handle = self.network.get_submodule(self.layer_name).register_forward_hook(hook)
        try:
            with self.execution.active(self.device), needed, whole or nullcontext():
                yield
        finally:
            handle.remove()

    def _prepared(self, x: Tensor) -> Tensor:
        return self.execution.laid_out(x.to(self.device, self.dtype or x.dtype))


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif _is_compiled(network):
            network = network._orig_mod  # type: ignore[assignment]
        else:
            return network


@contextmanager
def left_as_it_was(network: nn.Module) -> Iterator[None]:
    """Run ``network`` in evaluation mode, and give every submodule its own mode back."""
    # Suspended: inference mode, which excludes autograd, and compiled code, which runs no hooks.
    modes = {module: module.training for module in network.modules()}
    compiled = any(_is_compiled(module) for module in modes)
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with torch.inference_mode(False), eager:
        try:
            network.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def _is_compiled(module: nn.Module) -> bool:
    # Compared by name: importing the class takes seconds.
    return type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod")


def at_least_float32(values: Tensor) -> Tensor:
    """Sums must be more exact than the precision in which a network may compute."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
