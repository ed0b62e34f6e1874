"""One network seen as trunk and head at its target layer.

The network is never taken apart: a forward hook on the target layer ends the trunk (where
only activations are wanted) or turns autograd on (where the head's gradients are wanted).
So functional layers, skip connections and in-place operations behave as in the network
itself, and the trunk never records a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn


class _TrunkDoneError(Exception):
    """Leaves a forward pass at the target layer."""


class SplitNetwork:
    """Trunk and head of ``network`` at ``layer``.

    A layer that runs several times in one forward pass (a shared activation function) is
    split at its last run.

    Parameters
    ----------
    network : module, (N, C, *spatial) -> (N, n_classes)
    layer : name of a submodule, the submodule itself, or None
        None takes the last submodule whose output still has spatial extent.
    example : (N, C, *spatial) tensor
        An input, to find the layer and to see what it returns.

    Raises
    ------
    ValueError
        If the layer does not exist, does not run, or returns no (N, K, *spatial) tensor.
    """

    def __init__(self, network: nn.Module, layer: str | nn.Module | None, example: Tensor) -> None:
        self.network = network
        if layer is None:
            self.layer_name = find_target_layer(network, example)
        else:
            self.layer_name = _name_of(network, layer)
        self.layer = network.get_submodule(self.layer_name)
        self._runs = self._count_runs(example)

    def logits(self, x: Tensor) -> Tensor:
        """Class scores (N, n_classes) of the whole network, without autograd."""
        with torch.no_grad():
            return _checked_scores(self.network(x), x)

    def activations(self, x: Tensor) -> Tensor:
        """Activations A(x) at the layer: (N, K, *layer_spatial), detached; the head is not run."""
        kept: list[Tensor] = []

        def stop(activation: Tensor) -> Tensor:
            kept.append(activation.detach().clone())
            raise _TrunkDoneError

        with self._at_last_run(stop), torch.no_grad(), suppress(_TrunkDoneError):
            self.network(x)
        return kept[0]

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Activations and class scores, the scores differentiable by the activations.

        Returns
        -------
        activations : (N, K, *layer_spatial) tensor that requires grad
        scores : (N, n_classes) tensor
        """
        leaves: list[Tensor] = []

        def start_autograd(activation: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            leaf = activation.detach().requires_grad_()
            leaves.append(leaf)
            # The head may work in place, which autograd forbids on a leaf.
            return leaf.clone()

        with self._at_last_run(start_autograd), torch.no_grad():
            scores = _checked_scores(self.network(x), x)
        return leaves[0], scores

    def _count_runs(self, example: Tensor) -> int:
        outputs: list[Any] = []
        hook = self.layer.register_forward_hook(lambda _m, _i, output: outputs.append(output))
        try:
            with torch.no_grad():
                self.network(example[:1])
        finally:
            hook.remove()
        if not outputs:
            raise ValueError(
                f"Layer {self.layer_name!r} does not run in the forward pass. Choose another."
            )
        self._check_output(outputs[-1], example)
        return len(outputs)

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

    @contextmanager
    def _at_last_run(self, action: Callable[[Tensor], Tensor]) -> Iterator[None]:
        runs = 0

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
            nonlocal runs
            runs += 1
            return action(output) if runs == self._runs else None

        handle = self.layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


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

    Inference mode is suspended: its tensors cannot take part in autograd.
    """
    modes = {module: module.training for module in network.modules()}
    with torch.inference_mode(False):
        try:
            network.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training


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


def _checked_scores(scores: Any, x: Tensor) -> Tensor:
    if isinstance(scores, Tensor) and scores.ndim == 2 and len(scores) == len(x):
        return scores
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise ValueError(f"The network must return class scores of shape (N, n_classes), not {shape}.")
