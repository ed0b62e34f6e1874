"""Interpolation between the nodes of a path: piecewise cubic and piecewise linear.

Interpolants are linear in the values at the nodes, so the same coefficients serve activations,
their means and integrands.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_coefficients(nodes: Tensor, t: Tensor) -> Tensor:
    """Coefficients of the cubic Hermite interpolant with Bessel's slopes (of parabolas).

    Parameters
    ----------
    nodes : (N, m + 1) ascending positions, m >= 2
    t : (S,) places within each interval, 0 at its left end and 1 at its right

    Returns
    -------
    (N, m, S, 4) tensor: weights of the nodes i - 1 .. i + 2 in interval i, see `neighbours`
        The first and the last interval follow the parabola through the nearest three nodes.
    """
    width = nodes.diff(dim=1).unsqueeze(-1)
    before = torch.cat([width[:, :1], width[:, :-1]], 1)
    after = torch.cat([width[:, 1:], width[:, -1:]], 1)
    # Slopes at both ends times the width; weights of three neighbouring nodes each.
    left = torch.cat(
        [-(width**2) / (before * (before + width)), (width - before) / before,
         before / (before + width)], -1
    ).unsqueeze(2)  # fmt: skip
    right = torch.cat(
        [-after / (width + after), (after - width) / after, width**2 / (after * (width + after))],
        -1,
    ).unsqueeze(2)
    s = t.view(1, 1, -1, 1)
    cubic = nodes.new_zeros(*width.shape[:2], len(t), 4)
    cubic[..., :3] += s * (1 - s) ** 2 * left
    cubic[..., 1:] += s**2 * (s - 1) * right
    cubic[..., 1:2] += (1 + 2 * s) * (1 - s) ** 2
    cubic[..., 2:3] += s**2 * (3 - 2 * s)
    cubic[:, 0], cubic[:, -1] = 0, 0
    cubic[:, 0, :, 1:] = _parabola(nodes[:, :3], nodes[:, :1] + width[:, 0] * t)
    cubic[:, -1, :, :3] = _parabola(nodes[:, -3:], nodes[:, -2:-1] + width[:, -1] * t)
    return cubic


def linear_coefficients(nodes: Tensor, t: Tensor) -> Tensor:
    """As `cubic_coefficients`, for the straight line between neighbouring nodes."""
    linear = nodes.new_zeros(len(nodes), nodes.shape[1] - 1, len(t), 4)
    linear[..., 1] = 1 - t
    linear[..., 2] = t
    return linear


def neighbours(values: Tensor) -> Tensor:
    """Values (N, m + 1, ...) at nodes i - 1 .. i + 2 of every interval i: (N, m, 4, ...)."""
    m = values.shape[1] - 1
    index = torch.arange(m, device=values.device).view(-1, 1)
    index = (index + torch.arange(-1, 3, device=values.device)).clamp(0, m)
    return values[:, index]


def _parabola(nodes: Tensor, x: Tensor) -> Tensor:
    """Lagrange weights (N, S, 3) at x (N, S) of three nodes (N, 3)."""
    a, b, c = (nodes[:, i : i + 1] for i in range(3))
    return torch.stack(
        [
            (x - b) * (x - c) / ((a - b) * (a - c)),
            (x - a) * (x - c) / ((b - a) * (b - c)),
            (x - a) * (x - b) / ((c - a) * (c - b)),
        ],
        -1,
    )
