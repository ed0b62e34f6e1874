"""One way to make importance maps, as it is compared with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

Maps = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Method:
    """One way to make maps.

    Attributes
    ----------
    name : in tables
    source : library that implements it
    maps : (images (N, C, *spatial), classes (N,)) -> (N, *spatial), >= 0
    """

    name: str
    source: str
    maps: Maps


def upsampled(maps: Tensor, x: Tensor) -> Tensor:
    """Positive part of maps (N, *coarse), at the resolution of the images."""
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    positive = maps.detach().relu().unsqueeze(1)
    return interpolate(positive, x.shape[2:], mode=mode, align_corners=False)[:, 0]
