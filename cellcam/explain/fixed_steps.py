"""Path integrals with a fixed quadrature rule, a few steps of all paths at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellcam.explain.integral import Formula, Integral, differ, relative
from cellcam.explain.quadrature import Rule
from cellcam.explain.walking import Paths, Walker, contracted


def integrate_fixed(walker: Walker, paths: Paths, rule: Rule, formula: Formula) -> Integral:
    """Integrals with the nodes and weights of ``rule``.

    The error is estimated from trapezoid sums over all nodes and over every other one; the
    line integral is the trapezoid sum of gradients times activation differences. Both take in
    the two ends, which are known whatever the rule.
    """
    nodes, weights = _with_ends(rule)
    at_start = paths.at_start.activations.unsqueeze(1)
    total = _Sum(paths, weights.shape[0])
    step = max(1, walker.batch // len(paths))
    inner = np.arange(1, len(nodes) - 1)
    for part in (inner[i : i + step] for i in range(0, len(inner), step)):
        positions = torch.as_tensor(nodes[part], device=paths.end.device)
        rows = torch.arange(len(paths), device=paths.end.device).repeat_interleave(len(part))
        values = walker.values(paths, rows, positions.repeat(len(paths)))
        activations, gradient = (one.unflatten(0, (len(paths), len(part))) for one in values)
        total.add(activations, gradient, at_start, weights[:, part], formula)
    at_end = (paths.at_end.activations.unsqueeze(1), paths.at_end.gradients.unsqueeze(1))
    total.add(*at_end, at_start, weights[:, -1:], formula)
    return total.integral(formula, len(inner) + 1)


class _Sum:
    """Running sums over the nodes of P paths, in ascending order."""

    def __init__(self, paths: Paths, n_rules: int) -> None:
        size = (*paths.at_end.classes.shape, paths.at_end.activations.shape[2])
        self._by_rule = paths.at_end.activations.new_zeros(n_rules, *size)
        self._right = paths.at_end.activations.new_zeros(size)
        self._left = paths.at_end.activations.new_zeros(size)
        self._line = paths.at_end.activations.new_zeros(paths.at_end.classes.shape)
        self._last_activations = paths.at_start.activations.unsqueeze(1)
        self._last_gradient: Tensor | None = None
        self._end_weights = paths.at_end.gradients.mean(-1).unsqueeze(1)
        self._vary = torch.zeros_like(paths.at_end.classes, dtype=torch.bool)

    def add(
        self,
        activations: Tensor,
        gradient: Tensor,
        at_start: Tensor,
        weights: NDArray[np.float64],
        formula: Formula,
    ) -> None:
        """Nodes (P, S): activations (P, S, C, U), gradient (P, S, K, C, U or 1), weights (R, S)."""
        mean_gradient = gradient.mean(-1)
        self._vary |= differ(mean_gradient, self._end_weights).any(1)
        if formula == "paper":
            terms = (mean_gradient @ (activations - at_start)).relu()
            weight = torch.as_tensor(weights, dtype=terms.dtype, device=terms.device)
            self._by_rule += torch.einsum("rs,pskv->rpkv", weight, terms)
        change = activations - torch.cat([self._last_activations, activations[:, :-1]], 1)
        first = gradient[:, :1] if self._last_gradient is None else self._last_gradient
        right = contracted(gradient, change)
        left = contracted(torch.cat([first, gradient[:, :-1]], 1), change)
        self._line += (right + left).sum((1, 3)) / 2
        if formula == "complete":
            self._right += right.sum(1)
            self._left += left.sum(1)
        self._last_activations = activations[:, -1:].clone()
        self._last_gradient = gradient[:, -1:].clone()

    def integral(self, formula: Formula, n_evaluations: int) -> Integral:
        if formula == "paper":
            maps, fine, coarse = self._by_rule
            error = (maps - fine).norm(dim=2) + 2 * (fine - coarse).norm(dim=2)
        else:
            maps = (self._right + self._left) / 2
            error = (self._right - self._left).norm(dim=2) / 2
        evaluations = torch.full((len(maps),), n_evaluations, device=maps.device)
        return Integral(
            maps, relative(error, maps.norm(dim=2)), self._line, evaluations, self._vary
        )


def _with_ends(rule: Rule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes with 0 and 1 among them; weights of the rule, the trapezoid and a coarser one."""
    nodes = np.union1d(rule.nodes, [0.0, 1.0])
    weights = np.zeros((3, len(nodes)))
    weights[0, np.searchsorted(nodes, rule.nodes)] = rule.weights
    weights[1] = _trapezoid(nodes)
    some = np.union1d(np.arange(0, len(nodes), 2), [len(nodes) - 1])
    weights[2, some] = _trapezoid(nodes[some])
    return nodes, weights


def _trapezoid(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    width = np.diff(nodes)
    return (np.append(width, 0) + np.append(0, width)) / 2
