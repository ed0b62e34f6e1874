"""Path integrals with a fixed quadrature rule, a few steps of all paths at a time."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellcam.explain.integral import Formula, Integral, differ, relative
from cellcam.explain.quadrature import Rule
from cellcam.explain.walking import AtPoints, Paths, Walker, contracted


def integrate_fixed(walker: Walker, paths: Paths, rule: Rule, formula: Formula) -> Integral:
    """Integrals with the nodes and weights of ``rule``.

    The error is estimated from trapezoid sums over all nodes and over every other one; the
    line integral is the trapezoid sum of gradients times activation differences. Both take in
    the two ends, which are known whatever the rule.
    """
    nodes, weights = _with_ends(rule)
    total = _Sum(paths, weights.shape[0], formula)
    step = max(1, walker.batch // len(paths))
    inner = np.arange(1, len(nodes) - 1)
    for part in (inner[i : i + step] for i in range(0, len(inner), step)):
        positions = torch.as_tensor(nodes[part], device=paths.end.device)
        rows = torch.arange(len(paths), device=paths.end.device).repeat_interleave(len(part))
        points = walker.values(paths, rows, positions.repeat(len(paths)))
        by_path = partial(torch.unflatten, dim=0, sizes=(len(paths), len(part)))
        total.add(points.each(by_path), weights[:, part])
    total.add(paths.at_end.point.each(lambda values: values.unsqueeze(1)), weights[:, -1:])
    return total.integral(len(inner) + 1)


class _Sum:
    """Running sums over the nodes of P paths, in ascending order."""

    def __init__(self, paths: Paths, n_rules: int, formula: Formula) -> None:
        begin, end = paths.at_start, paths.at_end.point
        self._formula = formula
        self._start = begin.activations.unsqueeze(1)
        self._by_rule = end.activations.new_zeros(
            n_rules, *paths.at_end.classes.shape, end.activations.shape[2]
        )
        # Of gradients times changes, with the gradient at the end of each step or its beginning.
        self._right = self._left = end.activations.new_zeros(1)
        self._last_values = begin.along[:, None, :, None] if formula == "paper" else self._start
        self._last_gradient: list[Tensor] = []
        self._end_weights = end.weights.unsqueeze(1)
        self._vary = torch.zeros_like(paths.at_end.classes, dtype=torch.bool)

    def add(self, points: AtPoints, weights: NDArray[np.float64]) -> None:
        """Nodes (P, S) with their weights (R, S) in each rule."""
        self._vary |= differ(points.weights, self._end_weights).any(1)
        if self._formula == "paper":
            terms = (points.weights @ (points.activations - self._start)).relu()
            weight = torch.as_tensor(weights, dtype=terms.dtype, device=terms.device)
            self._by_rule += torch.einsum("rs,pskv->rpkv", weight, terms)
        gradient, values = points.accounts(self._formula)
        change = values - torch.cat([self._last_values, values[:, :-1]], 1)
        first = self._last_gradient or [part[:, :1] for part in gradient]
        self._right = self._right + contracted(gradient, change).sum(1)
        self._left = self._left + contracted(first, change[:, :1]).sum(1)
        self._left = self._left + contracted(
            [part[:, :-1] for part in gradient], change[:, 1:]
        ).sum(1)
        self._last_values, self._last_gradient = _last(values), [_last(part) for part in gradient]

    def integral(self, n_evaluations: int) -> Integral:
        """The sums so far."""
        trapezoid = (self._right + self._left) / 2
        if self._formula == "paper":
            maps, fine, coarse = self._by_rule
            error = (maps - fine).norm(dim=2) + 2 * (fine - coarse).norm(dim=2)
        else:
            maps = trapezoid
            error = (self._right - self._left).norm(dim=2) / 2
        evaluations = torch.full((len(maps),), n_evaluations, device=maps.device)
        error = relative(error, maps.norm(dim=2))
        return Integral(maps, error, trapezoid.sum(2), evaluations, self._vary)


def _last(points: Tensor) -> Tensor:
    """The last of points (P, S, ...), so that the others can be freed."""
    return points if points.shape[1] == 1 else points[:, -1:].clone()


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
