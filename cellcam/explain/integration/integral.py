"""The result of integrating along paths, and the products that are integrated."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cellcam.explain.network.path_points import Points

Formula = Literal["paper", "complete"]


class Integral(NamedTuple):
    """Integrals along P paths for K classes."""

    maps: Tensor  # (P, K, places)
    error: Tensor  # (P, K) estimated relative L2 error of the maps
    line: Tensor  # (P, K) line integral of the gradient: the score difference, if exact
    n_evaluations: Tensor  # (P,) points of the path that went through the network
    weights_vary: Tensor  # (P, K) whether the mean gradients differ along the path


def map_terms(points: Points, change: Tensor) -> Tensor:
    """sum_c w_c dA_c(u) at the places: (M, K, places), of M points and changes (M, C, U)."""
    return points.weights @ change[..., points.n_others :]


def position_terms(gradient: Tensor, change: Tensor) -> Tensor:
    """sum_c g_c(u) dA_c(u): (..., K, U), of gradients (..., K, C, U or 1), changes (..., C, U)."""
    if gradient.shape[-1] == 1:
        return gradient.squeeze(-1) @ change
    return (gradient * change.unsqueeze(-3)).sum(-2)


def line_terms(gradient: Tensor, change: Tensor) -> Tensor:
    """sum_u sum_c g_c(u) dA_c(u): (..., K), of gradients and changes as in `position_terms`."""
    if gradient.shape[-1] == 1:
        change = change.sum(-1, keepdim=True)
    elif gradient.stride(-2) == 1:  # the channels lie innermost: no rearranging
        gradient, change = gradient.mT, change.mT
    return (gradient.flatten(-2) @ change.flatten(-2).unsqueeze(-1)).squeeze(-1)


def relative(error: Tensor, norm: Tensor) -> Tensor:
    """Error over norm; 0 where both vanish."""
    return torch.where(error == 0, 0.0, error / norm)


def differ(weights: Tensor, reference: Tensor) -> Tensor:
    """Whether mean gradients (..., C) differ from others beyond rounding: (...)."""
    tolerance = 1e-9 if weights.dtype == torch.float64 else 1e-4
    return (weights - reference).norm(dim=-1) > tolerance * reference.norm(dim=-1)
