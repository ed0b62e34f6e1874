"""Weights of torchvision, of timm and of models, adapted to other channels and classes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cellcam.errors import InputError, UsageError
from cellcam.models.foreign_weights import read_state
from cellcam.models.registry import TIMM
from cellcam_training.fitting.weight_names import Weights, flattened, without_prefix

if TYPE_CHECKING:
    from torch import Tensor, nn

TORCHVISION = "tv_"  # prefix of torchvision's networks in the registry

_WAY_OUT = "Name another file as 'pretrained', or 'auto'."


def takes_weights(network: str) -> bool:
    """Whether weights from elsewhere exist for a network of the registry."""
    return network.startswith((TORCHVISION, TIMM))


def load_pretrained(network: nn.Module, weights: Weights) -> None:
    """Load the weights of the same architecture for other images and classes.

    The weights of the first convolution are averaged over the colours, repeated for every
    channel and scaled by colours / channels; those of a `StainCNN` of one stain are repeated for
    every stain. The last, fully connected layer stays random.
    What a file puts before the names, as ``module.`` or ``teacher.backbone.``, is taken off, and
    timm's own conversions of foreign names are applied.

    Raises
    ------
    UsageError
        If the weights belong to another architecture.
    """
    from cellcam.models.stain_cnn import StainCNN

    network = _of_timm(network) or network
    state = network.state_dict()
    filled = {}
    for name, value in _converted(network, without_prefix(weights, set(state))).items():
        wanted = state.get(name)
        if wanted is None:
            _refuse_if_of_another(name, state)
        elif value.shape == wanted.shape:
            filled[name] = value
        elif isinstance(network, StainCNN) and network.repeats(name, value, wanted):
            filled[name] = value.repeat(network.n_stains, *[1] * (value.ndim - 1))
        elif value.ndim == wanted.ndim > 3 and value[:, 0].shape == wanted[:, 0].shape:
            filled[name] = _for_channels(value, wanted)
    left = [name for name in state if name not in filled]
    if len(left) > 2:  # weight and bias of the last layer
        raise UsageError(
            f"pretrained: these weights are for another network: {left[0]} is missing, or has "
            "another shape."
        )
    network.load_state_dict(filled, strict=False)


def pretrained_weights(network: str, source: Path | str) -> Weights | None:
    """Read pretrained weights from a file, or get them from torchvision.

    Parameters
    ----------
    network : name in the registry, of a network of torchvision or timm
    source : path of a state dict (safetensors, or of torch), or ``"auto"``

    Returns
    -------
    state dict; None if torchvision has no weights on disk and cannot download them, and for
    ``"auto"`` with networks of timm

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    if isinstance(source, Path):
        return _from_file(source)
    if network.startswith(TIMM):
        return None
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


def _from_file(path: Path) -> Weights:
    if path.suffix == ".safetensors":
        return _from_safetensors(path)
    weights = dict(flattened(read_state(path, _WAY_OUT)))
    if not weights:
        raise InputError(f"pretrained: {path} is no state dict: it holds no tensors by name.")
    return weights


def _from_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: Weights = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"pretrained: {path} cannot be read: {error}. {_WAY_OUT}") from error
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise InputError(f"{path} holds values that are NaN or infinite. {_WAY_OUT}")
    return weights


def _of_timm(network: nn.Module) -> nn.Module | None:
    """The network of timm inside, without the resizing of crops."""
    from cellcam.models.timm_networks import AtItsOwnSize

    return network.network if isinstance(network, AtItsOwnSize) else None


def _converted(network: nn.Module, weights: Weights) -> Weights:
    """The weights under timm's names and for its sizes, where timm knows how."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return dict(convert(weights, network)) if convert else weights


def _refuse_if_of_another(name: str, state: dict[str, Tensor]) -> None:
    """Refuse a weight that the network lacks, unless it belongs to a part that it lacks."""
    if name.partition(".")[0] in {known.partition(".")[0] for known in state}:
        raise UsageError(
            f"pretrained: the network has no {name}; these weights are for another network."
        )


def _for_channels(value: Tensor, wanted: Tensor) -> Tensor:
    """Weights of a first convolution for another number of channels."""
    n_colours, n_channels = value.shape[1], wanted.shape[1]
    grey = value.mean(1, keepdim=True) * n_colours / n_channels
    return grey.expand_as(wanted).clone()
