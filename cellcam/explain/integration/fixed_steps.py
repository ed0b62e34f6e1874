"""Path integrals with a fixed quadrature rule, some steps of all paths at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellcam.explain.integration.integral import (
    Formula,
    Integral,
    differ,
    line_terms,
    position_terms,
    relative,
)
from cellcam.explain.integration.quadrature import Rule
from cellcam.explain.network.path_points import PathEvaluator, Paths, Points


def integrate_fixed(
    evaluator: PathEvaluator, paths: Paths, rule: Rule, formula: Formula
) -> Integral:
    """Integrals with the nodes and weights of ``rule``.

    The error is estimated from trapezoid sums over all nodes and over every other node; the line
    integral is one, too. Both include the ends of the path, which are known for every rule.
    """
    nodes, weights = _with_ends(rule)
    sums = _Sums(paths, formula)
    inner = np.arange(1, len(nodes) - 1)
    n_steps = max(1, evaluator.batch_size // paths.n)
    for first in range(0, len(inner), n_steps):
        part = inner[first : first + n_steps]
        positions = torch.from_numpy(nodes[part]).to(paths.end).repeat(paths.n)
        rows = torch.arange(paths.n, device=paths.end.device).repeat_interleave(len(part))
        for _, points in evaluator.at(paths, rows, positions):
            sums.add(points, weights[:, part])
    sums.add(paths.at_end, weights[:, -1:])
    return sums.integral(len(inner) + 1)


class _Sums:
    """Running sums over the nodes of P paths, in ascending order."""

    def __init__(self, paths: Paths, formula: Formula) -> None:
        self._paths, self._is_paper = paths, formula == "paper"
        self._start = self._last_activations = paths.start_activations.unsqueeze(1)
        self._last_gradient: Tensor | None = None
        # sum w_i ReLU(...) of the paper: for the rule, the trapezoid, and the coarser trapezoid.
        self._n_others = paths.at_end.n_others
        n_places = self._start.shape[-1] - self._n_others
        self._by_rule = self._start.new_zeros(3, *paths.classes.shape, n_places)
        # Gradients times changes, with the gradient at the end of each step, or at its beginning.
        self._right = self._left = self._start.new_zeros(1)
        self._vary = torch.zeros_like(paths.classes, dtype=torch.bool)

    def add(self, points: Points, weights: NDArray[np.float64]) -> None:
        """Add S nodes of each path, P S points, with their weights (3, S) in the three rules."""
        by_path = (self._paths.n, -1)
        gradient = points.gradient.unflatten(0, by_path)
        activations = points.activations.unflatten(0, by_path)
        mean_gradient = points.weights.unflatten(0, by_path)
        self._vary |= differ(mean_gradient, self._paths.at_end.weights.unsqueeze(1)).any(1)
        if self._is_paper:
            moved = (activations - self._start)[..., self._n_others :]
            terms = (mean_gradient @ moved).relu()
            weight = torch.as_tensor(weights, dtype=terms.dtype, device=terms.device)
            self._by_rule += torch.einsum("rs,pskv->rpkv", weight, terms)
        product = line_terms if self._is_paper else position_terms
        change = activations - torch.cat([self._last_activations, activations[:, :-1]], 1)
        before = gradient[:, :1] if self._last_gradient is None else self._last_gradient
        self._right = self._right + product(gradient, change).sum(1)
        self._left = self._left + product(before, change[:, :1]).sum(1)
        self._left = self._left + product(gradient[:, :-1], change[:, 1:]).sum(1)
        # Copies, so that the other nodes can be freed.
        self._last_activations = activations[:, -1:].clone()
        self._last_gradient = gradient[:, -1:].clone()

    def integral(self, n_evaluations: int) -> Integral:
        """The integrals, when all nodes are added."""
        trapezoid = (self._right + self._left) / 2
        if self._is_paper:
            line = trapezoid
            maps, fine, coarse = self._by_rule
            error = (maps - fine).norm(dim=2) + 2 * (fine - coarse).norm(dim=2)
        else:
            line, maps = trapezoid.sum(2), trapezoid[..., self._n_others :]
            error = (self._right - self._left)[..., self._n_others :].norm(dim=2) / 2
        evaluations = torch.full((len(maps),), n_evaluations, device=maps.device)
        return Integral(maps, relative(error, maps.norm(dim=2)), line, evaluations, self._vary)


def _with_ends(rule: Rule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes with 0 and 1 added; weights (3, n) of the rule, the trapezoid, a coarser trapezoid."""
    nodes = np.union1d(rule.nodes, [0.0, 1.0])
    weights = np.zeros((3, len(nodes)))
    weights[0, np.searchsorted(nodes, rule.nodes)] = rule.weights
    # Trapezoid: each node gets half of the widths of the intervals beside it.
    weights[1] = np.convolve(np.diff(nodes), (0.5, 0.5))
    some = np.union1d(np.arange(0, len(nodes), 2), [len(nodes) - 1])
    weights[2, some] = np.convolve(np.diff(nodes[some]), (0.5, 0.5))
    return nodes, weights
