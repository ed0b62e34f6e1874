"""One network seen as trunk and head at its target layer.

The network is never taken apart: a forward hook on the target layer ends the trunk (where
only activations are wanted) or turns autograd on (where the head's gradients are wanted).
So functional layers, skip connections and in-place operations behave as in the network
itself, and the trunk never records a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cellcam.explain.classes_at_once import HeadForClassesAtOnce, Leaf
from cellcam.explain.execution import Execution, usual_execution

_Hook = Callable[[Tensor], Tensor]


class _TrunkDoneError(Exception):
    """Leaves a forward pass at the target layer."""


@dataclass(frozen=True)
class Pass:
    """What a pass through trunk and head gives.

    Attributes
    ----------
    activations : (N, K, *layer_spatial) tensor, detached
    leaves : what the head can be differentiated by: the activations, their (N, K, 1, ...)
        means where the head is pooled, or what 1 x 1 convolutions make of them
    scores : (N, n_classes) tensor
    """

    activations: Tensor
    leaves: tuple[Leaf, ...]
    scores: Tensor


class SplitNetwork:
    """Trunk and head of ``network`` at ``layer``.

    A layer that runs several times in one forward pass (a shared activation function) is
    split at its last run.

    Parameters
    ----------
    network : module, (N, C, *spatial) -> (N, n_classes), in evaluation mode
    layer : name of a submodule, the submodule itself, or None
        None takes the last submodule whose output still has spatial extent.
    example : (N, C, *spatial) tensor
        An input, to find the layer and to see what it returns.

    Attributes
    ----------
    layer_name : of the target layer
    device : where the network is
    n_classes : of its scores
    features, map_shape : of the activations, (N, features, *map_shape)
    pooled : whether the head sees only each feature's mean over space
        Found by test, with `cellcam.explain.heads.head_of_means`; False until then.
    at_once : whether the head is differentiated for all classes at once
        Where a trial finds that faster; False until then.
    head_sees_activations : whether anything but 1 x 1 convolutions takes the activations
        Asked only where the head is differentiated at once.
    execution : how passes are computed

    Raises
    ------
    ValueError
        If the layer does not exist, does not run, or returns no (N, K, *spatial) tensor.
    """

    def __init__(self, network: nn.Module, layer: str | nn.Module | None, example: Tensor) -> None:
        self.network = unwrapped(network)
        self.device = next((p.device for p in self.network.parameters()), example.device)
        self.execution = Execution()
        self._dtype = _dtype_of(self.network)
        example = self._fitting(example[:1])
        if layer is None:
            self.layer_name = find_target_layer(self.network, example)
        else:
            self.layer_name = _name_of(self.network, layer)
        self.layer = self.network.get_submodule(self.layer_name)
        self.pooled = self.at_once = False
        self.head_sees_activations = True
        outputs, scores = self._probe(example)
        self._runs = len(outputs)
        self.n_classes = _checked_scores(scores, 1).shape[1]
        self.features, *space = outputs[-1].shape[1:]
        self.map_shape = torch.Size(space)
        self.execution = usual_execution(lambda way: self.scores(example, way), self.device)

    def activations(self, x: Tensor) -> Tensor:
        """Activations A(x) at the layer: (N, K, *layer_spatial), detached; the head is not run."""
        kept: list[Tensor] = []

        def stop(activation: Tensor) -> Tensor:
            # A copy: what the layer returns may be a view that the network writes into.
            kept.append(activation.detach().clone())
            raise _TrunkDoneError

        with torch.no_grad(), suppress(_TrunkDoneError):
            self._run(x, stop)
        return kept[0]

    def scores(
        self, x: Tensor, execution: Execution | None = None, means_only: bool = False
    ) -> Pass:
        """One pass through trunk and head, the head ready to be differentiated.

        Parameters
        ----------
        x : (N, C, *spatial) tensor
        execution : how to compute, if not as the network's own
        means_only : whether only mean gradients are wanted, not those at each position
        """
        execution = execution or self.execution
        at_once = self.at_once and execution.autocast is None
        mode = HeadForClassesAtOnce(means_only) if at_once else None
        kept: list[Tensor] = []

        def start_autograd(activation: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            # Apart from the network's own tensor where what follows may write into that.
            kept.append(activation.detach().clone() if self.pooled else activation.detach())
            seen = _means(kept[0]) if self.pooled else kept[0]
            kept.append(seen.detach().requires_grad_())
            # The head may work in place, which autograd forbids on a leaf.
            return mode.begin(kept[1]) if mode else kept[1].clone()

        with torch.no_grad():
            scores = _checked_scores(self._run(x, start_autograd, execution, mode), len(x))
        leaves = mode.leaves if mode else [Leaf(kept[1])]
        if len(leaves) > 1 and not self.head_sees_activations:
            leaves = leaves[1:]
        return Pass(kept[0], tuple(leaves), scores)

    def head(self, x: Tensor, activations: Tensor) -> Tensor:
        """Scores (M, n_classes) of the head for any M activations; ``x`` only feeds the trunk."""

        def replace(_activation: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            return activations.clone()

        with torch.no_grad():
            return _checked_scores(self._run(x, replace), len(activations))

    def _run(
        self,
        x: Tensor,
        action: _Hook,
        execution: Execution | None = None,
        mode: HeadForClassesAtOnce | None = None,
    ) -> Any:
        runs = 0

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
            nonlocal runs
            runs += 1
            return action(output) if runs == self._runs else None

        execution = execution or self.execution
        handle = self.layer.register_forward_hook(hook)
        try:
            with execution.active(self.device), mode or nullcontext():
                return self.network(execution.laid_out(self._fitting(x)))
        finally:
            handle.remove()

    def _fitting(self, x: Tensor) -> Tensor:
        return x.to(self.device, self._dtype or x.dtype)

    def _probe(self, example: Tensor) -> tuple[list[Tensor], Any]:
        """Outputs of the target layer in one pass, and the scores."""
        outputs: list[Any] = []
        hook = self.layer.register_forward_hook(lambda _m, _i, output: outputs.append(output))
        try:
            with torch.no_grad():
                scores = self.network(example)
        finally:
            hook.remove()
        if not outputs:
            raise ValueError(
                f"Layer {self.layer_name!r} does not run in the forward pass. Choose another."
            )
        self._check_output(outputs[-1], example)
        return outputs, scores

    def _check_output(self, output: Any, example: Tensor) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Layer {self.layer_name!r} returns a {type(output).__name__}, not a tensor. "
                "Choose a layer inside it that returns one tensor."
            )
        if output.ndim != example.ndim:
            raise ValueError(
                f"Layer {self.layer_name!r} returns shape {tuple(output.shape)}; a map needs "
                f"{example.ndim} axes (images, features, space). Choose a convolutional layer."
            )


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.

    Hooks do not run in compiled code, and one process explains on one device.
    """
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif _is_compiled(network):
            network = network._orig_mod  # type: ignore[assignment]
        else:
            return network


def find_target_layer(network: nn.Module, example: Tensor) -> str:
    """Name of the last submodule to finish whose output has spatial extent.

    Parameters
    ----------
    network : module
    example : (N, C, *spatial) tensor; its first image is run once

    Raises
    ------
    ValueError
        If no submodule returns (N, K, *spatial) with more than one position.
    """
    found: list[str] = []

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            spatial = isinstance(output, Tensor) and output.ndim == example.ndim
            if spatial and output.shape[2:].numel() > 1:
                found.append(name)

        return hook

    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            network(example[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(
            "No layer with spatial extent was found in the network. Name one in target_layers."
        )
    return found[-1]


@contextmanager
def left_as_it_was(network: nn.Module) -> Iterator[None]:
    """Run ``network`` in evaluation mode and give every submodule its own mode back.

    Inference mode is suspended: its tensors cannot take part in autograd. So is compiled
    code, in which hooks do not run.
    """
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
    # Asking by name: importing the class costs seconds.
    return type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod")


def _dtype_of(network: nn.Module) -> torch.dtype | None:
    """Floating type of all the network's parameters, None if there is not just one."""
    types = {p.dtype for p in network.parameters() if p.is_floating_point()}
    return types.pop() if len(types) == 1 else None


def _means(activations: Tensor) -> Tensor:
    return activations.mean(tuple(range(2, activations.ndim)), keepdim=True)


def _name_of(network: nn.Module, layer: str | nn.Module) -> str:
    names = {module: name for name, module in network.named_modules()}
    if isinstance(layer, nn.Module):
        if layer in names:
            return names[layer]
        raise ValueError(f"The {type(layer).__name__} given as target layer is not in the network.")
    if layer in names.values():
        return layer
    last = ", ".join([name for name in names.values() if name][-8:])
    raise ValueError(f"The network has no layer {layer!r}. Its last layers are: {last}.")


def _checked_scores(scores: Any, n: int) -> Tensor:
    if isinstance(scores, Tensor) and scores.ndim == 2 and len(scores) == n:
        return scores
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise ValueError(f"The network must return class scores of shape (N, n_classes), not {shape}.")
