"""Layout of activations, (N, C, *space). Others, such as tokens (N, T, C), are refused here."""

from __future__ import annotations

import torch
from torch import Tensor

# Name of a submodule that ran, and the shape of its output, or the type if that is no tensor.
Run = tuple[str, torch.Size | str]


def last_spatial_layer(runs: list[Run], ndim: int) -> str:
    """Name of the last submodule whose output has ``ndim`` axes and several positions."""
    names = list(spatial_outputs(runs, ndim))
    if names:
        return names[-1]
    raise ValueError("The network has no layer with spatial extent. Name one in target_layers.")


def spatial_outputs(runs: list[Run], ndim: int) -> dict[str, torch.Size]:
    """Spatial shape of the last output of each submodule that has ``ndim`` axes and positions.

    In the order of these last outputs.
    """
    found: dict[str, torch.Size] = {}
    for name, output in runs:
        spatial = isinstance(output, torch.Size) and len(output) == ndim
        if name and spatial and output[2:].numel() > 1:  # type: ignore[union-attr]
            found.pop(name, None)
            found[name] = output[2:]  # type: ignore[assignment]
    return found


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
