"""Trunk and head of a network at its target layer.

The network is never taken apart: a forward hook on the target layer ends the pass, or turns
autograd on for the head. So functional layers, skip connections and in-place operations behave as
in the network itself, and the trunk never records a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cellcam.explain.network import layouts
from cellcam.explain.network.execution import Execution, usual_execution

Layer = str | nn.Module


class _TrunkDoneError(Exception):
    """Ends a pass at the target layer."""


class Pass(NamedTuple):
    """Values of one pass through trunk and head."""

    activations: Tensor  # (N, C, *space) at the layer, detached
    leaf: Tensor  # the head's input: the activations, or their (N, C, 1, ...) means if pooled
    scores: Tensor  # (N, n_classes), which can be differentiated by the leaf


@dataclass(frozen=True)
class SplitNetwork:
    """A network in evaluation mode, seen as trunk and head; made by `split_network`."""

    network: nn.Module  # (N, C, *spatial) -> (N, n_classes)
    layer_name: str  # the target layer, where the trunk ends
    n_runs: int  # of the layer in a pass; it is split at its last run
    device: torch.device
    dtype: torch.dtype | None  # None where the parameters are of several types
    n_classes: int
    n_features: int  # activations are (N, n_features, *map_shape)
    map_shape: torch.Size
    execution: Execution = field(default_factory=Execution)
    pooled: bool = False  # whether the head sees only each feature's mean over space

    def activations(self, x: Tensor) -> Tensor:
        """Activations at the layer: (N, C, *space), detached; the head does not run."""
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
            torch.set_grad_enabled(True)
            # A copy where the network may write into its tensor and the leaf is another one.
            kept.append(activation.detach().clone() if self.pooled else activation.detach())
            leaf = layouts.means_over_space(kept[0]) if self.pooled else kept[0].detach()
            kept.append(leaf.requires_grad_())
            return kept[1].clone()  # the head may work in place, which a leaf forbids

        with torch.no_grad(), self._at_layer(start_autograd):
            scores = _checked_scores(self.network(self._prepared(x)), len(x))
        with torch.enable_grad():
            return Pass(at_least_float32(kept[0]), kept[1], at_least_float32(scores))

    def head(self, x: Tensor, activations: Tensor) -> Tensor:
        """Scores (M, n_classes) of the head for any M activations; ``x`` only feeds the trunk."""

        def substitute(_activation: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            return activations.clone()

        with torch.no_grad(), self._at_layer(substitute):
            return _checked_scores(self.network(self._prepared(x)), len(activations))

    @contextmanager
    def _at_layer(self, action: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it, ``action`` replaces the output of the layer's last run."""
        runs = count(1)

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            return action(output) if next(runs) == self.n_runs else None

        handle = self.network.get_submodule(self.layer_name).register_forward_hook(hook)
        try:
            with self.execution.active(self.device):
                yield
        finally:
            handle.remove()

    def _prepared(self, x: Tensor) -> Tensor:
        return self.execution.laid_out(x.to(self.device, self.dtype or x.dtype))


def split_network(network: nn.Module, layer: Layer | None, example: Tensor) -> SplitNetwork:
    """Split a network, in evaluation mode, at a layer.

    Parameters
    ----------
    layer : name of a submodule, the submodule itself, or None
        None takes the last submodule to finish whose output has more than one position.
    example : (N, C, *spatial) tensor; its first image is run

    Raises
    ------
    ValueError
        If the layer does not exist, does not run, or returns no (N, C, *space) tensor.
    """
    network = unwrapped(network)
    device = next((p.device for p in network.parameters()), example.device)
    dtypes = {p.dtype for p in network.parameters() if p.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    example = example[:1].to(device, dtype or example.dtype)
    runs, scores = _recorded_runs(network, example)
    if layer is None:
        layer = layouts.last_spatial_layer(runs, example.ndim)
    name = _name_of(network, layer)
    outputs = [output for run, output in runs if run == name]
    features, *space = layouts.activation_shape(outputs, name, example.ndim)[1:]
    shapes = _checked_scores(scores, 1).shape[1], features, torch.Size(space)
    split = SplitNetwork(network, name, len(outputs), device, dtype, *shapes)
    usual = usual_execution(lambda way: replace(split, execution=way).scores(example), device)
    return replace(split, execution=usual)


def spatial_layers(network: nn.Module, example: Tensor) -> dict[str, torch.Size]:
    """Submodules whose last output has several positions, in the order in which they finish.

    Parameters
    ----------
    example : (N, C, *spatial) tensor; its first image is run

    Returns
    -------
    spatial shape of the output by the submodule's name
    """
    network = unwrapped(network)
    with left_as_it_was(network):
        runs, _ = _recorded_runs(network, example[:1])
    return layouts.spatial_outputs(runs, example.ndim)


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


def _name_of(network: nn.Module, layer: Layer) -> str:
    names = {module: name for name, module in network.named_modules()}
    name = names.get(layer) if isinstance(layer, nn.Module) else layer
    if name is None:
        raise ValueError(f"The {type(layer).__name__} given as target layer is not in the network.")
    if name in names.values():
        return name
    last = ", ".join([name for name in names.values() if name][-8:])
    raise ValueError(f"The network has no layer {layer!r}. Its last layers are: {last}.")


def _recorded_runs(network: nn.Module, example: Tensor) -> tuple[list[layouts.Run], object]:
    """All runs of submodules in a pass, and the scores."""
    runs: list[layouts.Run] = []

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            found = output.shape if isinstance(output, Tensor) else type(output).__name__
            runs.append((name, found))

        return hook

    named = network.named_modules()
    handles = [module.register_forward_hook(hook_for(name)) for name, module in named]
    try:
        with torch.no_grad():
            return runs, network(example)
    finally:
        for handle in handles:
            handle.remove()


def _checked_scores(scores: object, n: int) -> Tensor:
    if isinstance(scores, Tensor) and scores.ndim == 2 and len(scores) == n:
        return scores
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise ValueError(f"The network must return class scores of shape (N, n_classes), not {shape}.")
