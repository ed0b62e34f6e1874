"""Networks of timm, any of them by name, for crops of any size and number of channels."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellcam.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "timm/"

# Plain names of architectures: no tags of weights, no addresses of hubs or folders.
_NAME = re.compile("[a-z0-9_]+")


class AtItsOwnSize(nn.Module):
    """A network that sees crops resized to the size that it was made for (bilinear).

    Transformers have as many positions as their patches; pretrained weights know features of a
    size. A crop of 40 pixels gets 14 x 14 patches of 16 like a photograph of 224.

    Parameters
    ----------
    network : (N, C, *size) -> (N, n_classes)
    size : (y, x) in pixels
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, n_classes) of crops (N, C, y, x)."""
        if tuple(x.shape[2:]) != self.size:
            smaller = x.shape[2] > self.size[0] or x.shape[3] > self.size[1]
            x = interpolate(x, self.size, mode="bilinear", antialias=smaller)
        scores: Tensor = self.network(x)
        return scores


def timm_network(name: str, in_channels: int, n_classes: int) -> AtItsOwnSize:
    """Network with random weights; nothing is downloaded.

    Parameters
    ----------
    name : of an architecture of timm, with the prefix ``timm/``

    Raises
    ------
    UsageError
        If timm is not installed, or has no such architecture.
    """
    architecture = checked_name(name)
    network = _timm().create_model(
        architecture, pretrained=False, num_classes=n_classes, in_chans=in_channels
    )
    height, width = network.pretrained_cfg["input_size"][1:]
    return AtItsOwnSize(network, (height, width))


def checked_name(name: str) -> str:
    """Architecture of a name with the prefix; `UsageError` if timm does not know it."""
    architecture = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(architecture) or not _timm().is_model(architecture):
        raise UsageError(
            f"timm has no architecture {architecture!r}. timm.list_models() lists them; names of "
            "weights, behind a dot, are no part of the name."
        )
    return architecture


@lru_cache
def last_layer(name: str) -> str:
    """Last layer with space that the scores depend on and that nothing bypasses, by a trial.

    Raises
    ------
    UsageError
        If the network has none whose layout is clear.
    """
    import torch

    from cellcam.explain.network.splitting import left_as_it_was
    from cellcam.explain.network.target import Target, split_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm_network(name, 3, 2)
        # A layer that begins with zeros passes nothing on before a training.
        for weight in network.parameters():
            if not weight.any():
                nn.init.normal_(weight, std=0.02)
        crop = torch.rand(1, 3, *network.size)
    try:
        with left_as_it_was(network), torch.no_grad():
            return split_network(network, Target(), crop).layer_name
    except ValueError as error:
        raise UsageError(f"{name} cannot be explained: {error}") from error


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Networks of timm need the package {error.name}: pip install 'cellcam[timm]' brings "
            "it."
        ) from error
    module: ModuleType = timm
    return module
