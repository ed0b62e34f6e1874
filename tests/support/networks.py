"""Random small classifiers: depth, skips, dimensions, channels and odd sizes vary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from cellcam.models.registry import build_network


class _Skip(nn.Module):
    def __init__(self, inner: nn.Module, dense: bool) -> None:
        super().__init__()
        self.inner, self.dense = inner, dense

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inner(x)], 1) if self.dense else x + self.inner(x)


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x.flatten(2).mean(2)).sigmoid()
        return x * gate.view(*gate.shape, *[1] * (x.ndim - 2))


class _ChannelLast(nn.Module):
    """Norm and linear layer with the features innermost, as in ConvNeXt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.norm(x.movedim(1, -1))).movedim(-1, 1)


def random_network(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[nn.Module, Tensor]:
    """A network in float64 and two images for it."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    dims = draw(st.sampled_from([2, 3]))
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
    pool = nn.MaxPool2d if dims == 2 else nn.MaxPool3d
    to_one = nn.AdaptiveAvgPool2d(1) if dims == 2 else nn.AdaptiveAvgPool3d(1)
    channels, width = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    classes = draw(st.integers(2, 4))
    layers: list[nn.Module] = [conv(channels, width, 3, padding=1)]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["plain", "residual", "dense", "excite", "last", "pool"]))
        act = draw(st.sampled_from([nn.ReLU(inplace=True), nn.ReLU(), nn.GELU(), nn.SiLU()]))
        block = nn.Sequential(norm(width), act, conv(width, width, 3, padding=1))
        if kind == "dense":
            layers.append(_Skip(block, dense=True))
            width *= 2
        elif kind in ("plain", "residual"):
            layers.append(block if kind == "plain" else _Skip(block, dense=False))
        else:
            choices = {"excite": _SqueezeExcite, "last": _ChannelLast}
            layers.append(pool(2) if kind == "pool" else choices[kind](width))
    layers += [nn.ReLU(inplace=draw(st.booleans())), to_one, nn.Flatten()]
    if draw(st.booleans()):
        layers += [nn.Linear(width, 6), nn.ReLU(inplace=True), nn.Linear(6, classes)]
    else:
        layers.append(nn.Linear(width, classes))
    network = nn.Sequential(*layers).double()
    size = [draw(st.integers(9, 14)) for _ in range(dims)]
    with torch.no_grad():
        network.train()(torch.randn(6, channels, *size).double())
    return network.eval(), torch.rand(2, channels, *size).double() * 2


def small_network(channels: int = 3, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The default network with statistics of images like these, as after training."""
    torch.manual_seed(3)
    network = build_network("small_cnn", 2, channels, 3).to(dtype)
    with torch.no_grad():
        network.train()(torch.randn(16, channels, 16, 16, dtype=dtype) * 2 + 0.5)
    return network.eval()


def images(n: int = 2, channels: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise of 16 x 16 pixels."""
    torch.manual_seed(5)
    return torch.rand(n, channels, 16, 16, dtype=dtype) * 3
