"""What integrating along paths gives, whichever way the steps are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, float64, where

Formula = Literal["paper", "complete"]


@dataclass(frozen=True)
class Integral:
    """Integrals along P paths for K classes; U positions at the layer.

    Attributes
    ----------
    maps : (P, K, U)
    error : (P, K) estimated relative L2 error of the maps
    line : (P, K) line integral of the gradient: the score difference, if all were exact
    n_evaluations : (P,) points of the path that went through the trunk, the baseline apart
    weights_vary : (P, K) whether the mean gradients differ along the path
    """

    maps: Tensor
    error: Tensor
    line: Tensor
    n_evaluations: Tensor
    weights_vary: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Integral]) -> Integral:
        """The integrals along all parts' paths."""
        values = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        return cls(*map(torch.cat, values))


def relative(error: Tensor, norm: Tensor) -> Tensor:
    """Errors over norms, both (P, K); 0 where both vanish."""
    return where(error == 0, 0.0, error / norm)


def differ(weights: Tensor, reference: Tensor) -> Tensor:
    """Whether mean gradients (..., C) differ beyond rounding: (...)."""
    tolerance = 1e-9 if weights.dtype == float64 else 1e-4
    return (weights - reference).norm(dim=-1) > tolerance * reference.norm(dim=-1)
