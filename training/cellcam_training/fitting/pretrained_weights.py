"""Pretrained weights of torchvision networks, adapted to other channels and classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cellcam.errors import InputError, UsageError
from cellcam_training.fitting.foreign_weights import read_state

if TYPE_CHECKING:
    from torch import nn

TORCHVISION = "tv_"  # prefix of torchvision's networks in the registry

Weights = dict[str, Tensor]


def load_pretrained(network: nn.Module, weights: Weights) -> None:
    """Load the weights of the same architecture for other images and classes.

    The weights of the first convolution are averaged over the colours, repeated for every
    channel and scaled by colours / channels; the last, fully connected layer stays random.

    Raises
    ------
    UsageError
        If the weights belong to another architecture.
    """
    state = network.state_dict()
    filled = {}
    for name, value in weights.items():
        wanted = state.get(name)
        if wanted is None:
            raise UsageError(
                f"pretrained: the network has no {name}; these weights are for another network."
            )
        if value.shape == wanted.shape:
            filled[name] = value
        elif value.ndim == 4 and value[:, 0].shape == wanted[:, 0].shape:
            n_colours, n_channels = value.shape[1], wanted.shape[1]
            grey = value.mean(1, keepdim=True) * n_colours / n_channels
            filled[name] = grey.expand_as(wanted).clone()
    if len(state) - len(filled) > 2:  # weight and bias of the last layer
        raise UsageError("pretrained: these weights are for another network.")
    network.load_state_dict(filled, strict=False)


def pretrained_weights(network: str, source: Path | str) -> Weights | None:
    """Read pretrained weights from a file, or get them from torchvision.

    Parameters
    ----------
    network : name in the registry, with the prefix ``tv_``
    source : path of a state dict, or ``"auto"``

    Returns
    -------
    state dict; None if torchvision has no weights on disk and cannot download them

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    if isinstance(source, Path):
        weights = read_state(source, "Name another file as 'pretrained', or 'auto'.")
        tensors = weights.values() if isinstance(weights, dict) else [None]
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise InputError(f"pretrained: {source} is no state dict: it holds more than tensors.")
        return weights
    from torchvision.models import get_model_weights

    known: Any = get_model_weights(network.removeprefix(TORCHVISION))
    try:
        found: Weights = known.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except OSError as error:  # not on disk, and the download failed
        logging.getLogger(__name__).warning(
            "No pretrained weights for %s (%s); training starts from random weights.",
            network,
            error,
        )
        return None
    return found
