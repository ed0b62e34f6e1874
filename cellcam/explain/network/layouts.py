"""Layout of activations, (N, C, *space). Others, such as tokens (N, T, C), are refused here."""

from __future__ import annotations

import torch
from torch import Tensor

# Name of a submodule that ran, and the shape of its output, or the type if that is no tensor.
Run = tuple[str, torch.Size | str]


def last_spatial_layer(runs: list[Run], ndim: int) -> str:
    """Name of the last submodule whose output has ``ndim`` axes and several positions."""
    for name, output in reversed(runs):
        spatial = isinstance(output, torch.Size) and len(output) == ndim
        if name and spatial and output[2:].numel() > 1:  # type: ignore[union-attr]
            return name
    raise ValueError("The network has no layer with spatial extent. Name one in target_layers.")


def activation_shape(outputs: list[torch.Size | str], name: str, ndim: int) -> torch.Size:
    """Shape (N, C, *space) of the layer's last output; `ValueError` if it has another layout."""
    if not outputs:
        raise ValueError(f"Layer {name!r} does not run in the forward pass. Choose another.")
    shape = outputs[-1]
    if isinstance(shape, str):
        raise ValueError(f"Layer {name!r} returns a {shape}. Choose one inside it, of one tensor.")
    if len(shape) != ndim:
        raise ValueError(
            f"Layer {name!r} returns shape {tuple(shape)}; a map needs {ndim} axes "
            "(images, features, space). Choose a convolutional layer."
        )
    return shape


def means_over_space(activations: Tensor) -> Tensor:
    """Mean of each feature: (N, C, 1, ...) of (N, C, *space)."""
    return activations.mean(tuple(range(2, activations.ndim)), keepdim=True)
