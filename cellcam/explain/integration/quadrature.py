"""Quadrature rules on [0, 1]: at which points of the path to evaluate, and with which weight."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal[
    "riemann_right", "riemann_left", "riemann_middle", "riemann_trapezoid", "gausslegendre"
]


class Rule(NamedTuple):
    """Ascending nodes (n,) in [0, 1], and weights (n,) that add up to 1; both float64."""

    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]


def quadrature_rule(method: Method, n_steps: int) -> Rule:
    """Rule with ``n_steps`` steps, under the names that Captum uses.

    The Riemann rules cut [0, 1] into ``n_steps`` equal intervals and take the right end,
    the left end or the middle of each, or both ends (the trapezoid, ``n_steps + 1`` nodes).
    ``riemann_right`` is the sum of the paper: nodes t/m for t = 1..m, weights 1/m.

    Raises
    ------
    ValueError
        If the method is unknown.
    """
    ends = np.arange(n_steps + 1) / n_steps
    equal = np.full(n_steps, 1 / n_steps)
    if method == "riemann_right":
        return Rule(ends[1:], equal)
    if method == "riemann_left":
        return Rule(ends[:-1], equal)
    if method == "riemann_middle":
        return Rule((ends[:-1] + ends[1:]) / 2, equal)
    if method == "riemann_trapezoid":
        return Rule(ends, np.append(equal, 0) / 2 + np.append(0, equal) / 2)
    if method == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        return Rule((nodes + 1) / 2, weights / 2)
    raise ValueError(f"method={method!r} is unknown. Choose one of {', '.join(get_args(Method))}.")
