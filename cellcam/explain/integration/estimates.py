"""Estimates of path integrals from the nodes evaluated so far, and of what they leave in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from cellcam.explain.integration.integral import differ, line_terms, position_terms
from cellcam.explain.integration.interpolation import (
    cubic_coefficients,
    linear_coefficients,
    neighbours,
)
from cellcam.explain.integration.nodes import NewNodes, Nodes
from cellcam.explain.memory import slices
from cellcam.explain.network.path_points import PathEvaluator, Paths

# Parts of an interval in whose middles the integrand is interpolated.
PARTS = 4
# Estimated error over the root of the summed squares of the doubts about all intervals: larger
# where the gradients, too, jump between nodes, at layers that more ReLUs follow (docs/method.md).
_MARGIN, _MARGIN_FOR_JUMPS = 4.0, 12.0


class Estimate(NamedTuple):
    """Maps (N, K, U), doubt about each interval (N, intervals, K), line integral (N, K)."""

    maps: Tensor
    doubt: Tensor
    line: Tensor


class Estimator(Protocol):
    """Keeps values at the nodes of N paths.

    Attributes
    ----------
    nodes : of the paths
    vary : (N, K) whether the mean gradients differed so far
    margin : estimated error over the root of the summed squares of the doubts
    """

    nodes: Nodes
    vary: Tensor
    margin: float

    def evaluate(self, evaluator: PathEvaluator, new: NewNodes) -> None:
        """Run the network at new nodes and keep what the estimate needs."""

    def estimate(self, evaluator: PathEvaluator) -> Estimate:
        """Estimate from all nodes so far."""

    def keep(self, mask: Tensor) -> None:
        """Drop the paths outside ``mask`` (N,)."""


class PaperAtNodes:
    """The paper's formula: the integrand before the ReLU is kept at the nodes and interpolated.

    The line integral over a panel is the gradient at its middle times the change of the
    activations between its ends; it is kept at the middle node.
    """

    def __init__(self, evaluator: PathEvaluator, paths: Paths) -> None:
        self.margin = _MARGIN if evaluator.gradient_is_constant else _MARGIN_FOR_JUMPS
        self.nodes = Nodes(len(paths), paths.scores)
        self.vary = torch.zeros_like(paths.classes, dtype=torch.bool)
        self._paths = paths
        start, end = paths.start_activations, paths.at_end.activations
        at_end = paths.at_end.weights @ (end - start)
        self._integrand = torch.stack([torch.zeros_like(at_end), at_end], 1)
        self._activations = torch.stack([start, end], 1)
        self._line = torch.zeros_like(paths.scores).unsqueeze(1).repeat(1, 2, 1)
        self.evaluate(evaluator, self.nodes.refine_all())

    def evaluate(self, evaluator: PathEvaluator, new: NewNodes) -> None:
        """See `Estimator`."""
        paths, rows = self._paths, new.flat_rows
        ends = (_at(self._activations, node).flatten(0, 1) for node in (new.right, new.left))
        change = next(ends) - next(ends)
        integrands, lines, activations, vary = [], [], [], []
        for part, points in evaluator.at(paths, rows, new.positions.flatten()):
            moved = points.activations - paths.start_activations[rows[part]]
            integrands.append(points.weights @ moved)
            lines.append(line_terms(points.gradient, change[part]))
            activations.append(points.activations)
            vary.append(differ(points.weights, paths.at_end.weights[rows[part]]))
        shape = new.positions.shape
        self._integrand = _appended(self._integrand, integrands, shape)
        self._line = _appended(self._line, lines, shape)
        self._activations = _appended(self._activations, activations, shape)
        self.vary |= torch.cat(vary).unflatten(0, shape).any(1)

    def estimate(self, evaluator: PathEvaluator) -> Estimate:
        """See `Estimator`."""
        nodes, places = self.nodes.along_path(), middles(PARTS, self._line)
        near = neighbours(_at(self._integrand, self.nodes.order))
        cubic, straight = (
            torch.einsum("nmsj,nmjku->nmsku", coefficients(nodes, places), near)
            for coefficients in (cubic_coefficients, linear_coefficients)
        )
        width = nodes.diff(dim=1)[..., None, None]
        best, doubt = (values.mean(2) * width for values in positive_part(cubic, straight))
        line = _at(self._line, self.nodes.order)[:, 1::2].sum(1)
        return Estimate(best.sum(1), doubt.norm(dim=3), line)

    def keep(self, mask: Tensor) -> None:
        """See `Estimator`."""
        self.nodes.keep(mask)
        self.vary, self._integrand = self.vary[mask], self._integrand[mask]
        self._activations, self._line = self._activations[mask], self._line[mask]


class CompleteAtNodes:
    """The complete formula by the trapezoid rule.

    Gradients and activations are kept at all nodes: they are used again whenever an interval
    beside a node is halved. Half the difference of an interval's right and left sum bounds the
    error of their mean. Both are kept at the node where the interval ends.
    """

    margin = 1.0

    def __init__(self, evaluator: PathEvaluator, paths: Paths) -> None:
        self.nodes = Nodes(len(paths), paths.scores)
        self.vary = torch.zeros_like(paths.classes, dtype=torch.bool)
        self._paths = paths
        end = paths.at_end
        # By node number and path; the paths that are done are not dropped.
        self._gradient = end.gradient.new_empty(16, *end.gradient.shape)
        self._activations = end.activations.new_empty(16, *end.activations.shape)
        self._gradient[1], self._activations[1] = end.gradient, end.activations
        # Less than eight intervals are never enough, and a pass of few points is slow.
        self.nodes.refine_all()
        self.nodes.refine_all()
        # The baseline's gradient is needed, too; the image's is known.
        numbers = [0, 2, 3, 4]
        self._run(evaluator, numbers, self.nodes.positions[:, numbers])
        self._maps = paths.at_end.activations.new_zeros(
            len(paths), 5, paths.classes.shape[1], paths.at_end.activations.shape[2]
        )
        self._doubt = torch.zeros_like(self._maps[..., 0])
        self._add_intervals(evaluator, self.nodes.order[:, :-1], self.nodes.order[:, 1:])

    def evaluate(self, evaluator: PathEvaluator, new: NewNodes) -> None:
        """See `Estimator`."""
        n_new = new.positions.shape[1]
        numbers = range(new.first, new.first + n_new)
        self._run(evaluator, numbers, new.positions)
        self._maps = pad(self._maps, (0, 0, 0, 0, 0, n_new))
        self._doubt = pad(self._doubt, (0, 0, 0, n_new))
        middle = torch.as_tensor(numbers, device=new.rows.device).expand_as(new.left)
        begin, end = torch.cat([new.left, middle], 1), torch.cat([middle, new.right], 1)
        self._add_intervals(evaluator, begin, end)

    def estimate(self, evaluator: PathEvaluator) -> Estimate:
        """See `Estimator`."""
        maps = self._maps.sum(1)
        return Estimate(maps, _at(self._doubt, self.nodes.order[:, 1:]), maps.sum(2))

    def keep(self, mask: Tensor) -> None:
        """See `Estimator`."""
        self.nodes.keep(mask)
        self.vary, self._maps, self._doubt = self.vary[mask], self._maps[mask], self._doubt[mask]

    def _run(self, evaluator: PathEvaluator, numbers: Sequence[int], positions: Tensor) -> None:
        """Keep the network's values at ``positions`` (N, M) of the nodes ``numbers``."""
        self._gradient = _with_room(self._gradient, numbers[-1] + 1)
        self._activations = _with_room(self._activations, numbers[-1] + 1)
        rows = self.nodes.rows.repeat_interleave(len(numbers))
        by_point = torch.as_tensor(numbers, device=rows.device).repeat(len(self.nodes.rows))
        vary = []
        for part, points in evaluator.at(self._paths, rows, positions.flatten()):
            place = by_point[part], rows[part]
            self._gradient[place], self._activations[place] = points.gradient, points.activations
            vary.append(differ(points.weights, self._paths.at_end.weights[rows[part]]))
        self.vary |= torch.cat(vary).unflatten(0, positions.shape).any(1)

    def _add_intervals(self, evaluator: PathEvaluator, begin: Tensor, end: Tensor) -> None:
        """Set the sums of the intervals from node ``begin`` to node ``end``, both (N, M)."""
        rows = self.nodes.rows.repeat_interleave(end.shape[1])
        kept = torch.arange(len(self.nodes.rows), device=rows.device).repeat_interleave(
            end.shape[1]
        )
        for part in slices(len(rows), evaluator.batch_size):
            left, right = (begin.flatten()[part], rows[part]), (end.flatten()[part], rows[part])
            change = self._activations[right] - self._activations[left]
            right_sum = position_terms(self._gradient[right], change)
            left_sum = position_terms(self._gradient[left], change)
            place = kept[part], end.flatten()[part]
            self._maps[place] = (right_sum + left_sum) / 2
            self._doubt[place] = (right_sum - left_sum).norm(dim=2) / 2


def positive_part(best: Tensor, rough: Tensor) -> tuple[Tensor, Tensor]:
    """ReLU of ``best``, and its error if ``best`` errs by its distance from ``rough``."""
    doubt = (best - rough).abs()
    # A value slightly below zero may in truth be positive.
    return best.relu(), torch.minimum(doubt, (best + 4 * doubt).relu())


def middles(n: int, like: Tensor) -> Tensor:
    """Middles of n equal parts of [0, 1]."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n


def _at(values: Tensor, numbers: Tensor) -> Tensor:
    """Values (N, n, ...) of the nodes ``numbers`` (N, M): (N, M, ...)."""
    return values[torch.arange(len(numbers), device=numbers.device).unsqueeze(1), numbers]


def _appended(kept: Tensor, new: list[Tensor], shape: torch.Size) -> Tensor:
    """Values (N, n, ...) of nodes, with those of ``shape`` (N, M) new nodes behind them."""
    return torch.cat([kept, torch.cat(new).unflatten(0, shape)], 1)


def _with_room(kept: Tensor, n: int) -> Tensor:
    """``kept`` with room for n nodes; the room at least doubles when it grows."""
    if n <= len(kept):
        return kept
    larger = kept.new_empty(max(n, 2 * len(kept)), *kept.shape[1:])
    larger[: len(kept)] = kept
    return larger
