"""Estimates of path integrals from the nodes evaluated so far, and of what they leave in doubt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from cellcam.explain.integration.integral import differ, line_terms, map_terms, position_terms
from cellcam.explain.integration.nodes import NewNodes, Nodes
from cellcam.explain.memory import slices
from cellcam.explain.network.path_points import PathEvaluator, Paths

# Places in each interval where the integrand is interpolated.
_SAMPLES = 4
# Estimated error over the root of the summed squares of the doubts about all intervals. It is
# larger where the gradients jump between nodes, the more so the more ReLUs follow the layer.
_MARGIN_CONSTANT, _MARGIN_POOLED, _MARGIN_OTHER = 3.5, 4.5, 12.0


class Estimate(NamedTuple):
    """Estimated integrals of N paths."""

    maps: Tensor  # (N, K, U)
    doubt: Tensor  # (N, intervals, K) about each interval
    line: Tensor  # (N, K) line integral


class Estimator(ABC):
    """Values at the nodes of N paths, of which an integral is estimated."""

    margin: float  # estimated error over the root of the summed squares of the doubts

    def __init__(self, evaluator: PathEvaluator, paths: Paths) -> None:
        self.nodes = Nodes(paths.n, paths.scores)
        # (N, K) whether the mean gradients differed so far
        self.vary = torch.zeros_like(paths.classes, dtype=torch.bool)
        self._evaluator, self._paths = evaluator, paths

    @abstractmethod
    def evaluate(self, new: NewNodes) -> None:
        """Run the network at new nodes, and keep their part of the estimate."""

    @abstractmethod
    def estimate(self) -> Estimate:
        """Estimate from all nodes so far."""

    def keep(self, mask: Tensor) -> None:
        """Drop the paths outside ``mask`` (N,)."""
        self.nodes.keep(mask)
        self.vary = self.vary[mask]

    def _note_variation(self, weights: list[Tensor], rows: Tensor, n_paths: int) -> None:
        """Compare mean gradients of points on the paths ``rows`` with those at the images."""
        vary = differ(torch.cat(weights), self._paths.at_end.weights[rows])
        self.vary |= vary.unflatten(0, (n_paths, -1)).any(1)


class PaperEstimator(Estimator):
    """The paper's formula, from the integrand before the ReLU at the nodes.

    It is interpolated by the parabola through the three nodes of a panel; the doubt is the distance
    to straight lines. The line integral over a panel is the gradient at its middle times the change
    of the activations between its ends; it is kept at the middle node.
    """

    def __init__(self, evaluator: PathEvaluator, paths: Paths) -> None:
        super().__init__(evaluator, paths)
        jumps = _MARGIN_POOLED if evaluator.facts.split.pooled else _MARGIN_OTHER
        self.margin = _MARGIN_CONSTANT if evaluator.gradient_is_constant else jumps
        ends = paths.start_activations, paths.at_end.activations
        at_end = map_terms(paths.at_end, ends[1] - ends[0])
        self._integrand = torch.stack([torch.zeros_like(at_end), at_end], 1)
        self._activations = torch.stack(ends, 1)
        self._line = torch.zeros_like(paths.scores).unsqueeze(1).repeat(1, 2, 1)
        self.evaluate(self.nodes.refine_all())

    def evaluate(self, new: NewNodes) -> None:
        """See `Estimator.evaluate`."""
        paths, rows = self._paths, new.rows.repeat_interleave(new.positions.shape[1])
        change = _at(self._activations, new.right) - _at(self._activations, new.left)
        integrands, lines, activations, weights = [], [], [], []
        for part, points in self._evaluator.at(paths, rows, new.positions.flatten()):
            moved = points.activations - paths.start_activations[rows[part]]
            integrands.append(map_terms(points, moved))
            lines.append(line_terms(points.gradient, change.flatten(0, 1)[part]))
            activations.append(points.activations)
            weights.append(points.weights)
        self._integrand = _appended(self._integrand, integrands)
        self._line = _appended(self._line, lines)
        self._activations = _appended(self._activations, activations)
        self._note_variation(weights, rows, len(new.rows))

    def estimate(self) -> Estimate:
        """See `Estimator.estimate`."""
        order = self.nodes.order
        ends = _at(self._integrand, order)
        panels = torch.stack([ends[:, :-1:2], ends[:, 1::2], ends[:, 2::2]], 2)
        curved, straight = (
            torch.einsum("sj,npjku->npsku", weights, panels)
            for weights in panel_interpolation(2 * _SAMPLES, panels)
        )
        doubt = (curved - straight).abs()
        # A value slightly below zero may in truth be positive.
        doubt = torch.minimum(doubt, (curved + 4 * doubt).relu())
        by_interval = [values.unflatten(2, (2, -1)).mean(3) for values in (curved.relu(), doubt)]
        width = self.nodes.along_path().diff(dim=1)[..., None, None]
        maps, doubt = (values.flatten(1, 2) * width for values in by_interval)
        return Estimate(maps.sum(1), doubt.norm(dim=3), _at(self._line, order)[:, 1::2].sum(1))

    def keep(self, mask: Tensor) -> None:
        """See `Estimator.keep`."""
        super().keep(mask)
        self._integrand, self._line = self._integrand[mask], self._line[mask]
        self._activations = self._activations[mask]


class CompleteEstimator(Estimator):
    """The complete formula by the trapezoid rule.

    Gradients and activations are kept at all nodes: they are used again whenever an interval
    beside a node is halved. Half the difference of an interval's right and left sum bounds the
    error of their mean. Both are kept at the node where the interval ends.
    """

    margin = 1.0

    def __init__(self, evaluator: PathEvaluator, paths: Paths) -> None:
        super().__init__(evaluator, paths)
        end = paths.at_end
        # By node number and path; paths that are done are not dropped.
        self._gradient = end.gradient.new_empty(16, *end.gradient.shape)
        self._activations = end.activations.new_empty(16, *end.activations.shape)
        self._gradient[1], self._activations[1] = end.gradient, end.activations
        # Less than eight intervals are never enough, and passes of few points are slow.
        self.nodes.refine_all()
        self.nodes.refine_all()
        # The baseline's gradient is needed, too; the image's is known.
        self._run([0, 2, 3, 4], self.nodes.positions[:, [0, 2, 3, 4]])
        n_classes, n_positions = paths.classes.shape[1], end.activations.shape[2]
        self._maps = end.activations.new_zeros(paths.n, 5, n_classes, n_positions)
        self._doubt = torch.zeros_like(self._maps[..., 0])
        self._add_intervals(self.nodes.order[:, :-1], self.nodes.order[:, 1:])

    def evaluate(self, new: NewNodes) -> None:
        """See `Estimator.evaluate`."""
        numbers = range(new.first, new.first + new.positions.shape[1])
        self._run(numbers, new.positions)
        self._maps = pad(self._maps, (0, 0, 0, 0, 0, len(numbers)))
        self._doubt = pad(self._doubt, (0, 0, 0, len(numbers)))
        middle = torch.as_tensor(numbers, device=new.rows.device).expand_as(new.left)
        self._add_intervals(torch.cat([new.left, middle], 1), torch.cat([middle, new.right], 1))

    def estimate(self) -> Estimate:
        """See `Estimator.estimate`."""
        everywhere = self._maps.sum(1)
        maps = everywhere[..., self._paths.at_end.n_others :]
        return Estimate(maps, _at(self._doubt, self.nodes.order[:, 1:]), everywhere.sum(2))

    def keep(self, mask: Tensor) -> None:
        """See `Estimator.keep`."""
        super().keep(mask)
        self._maps, self._doubt = self._maps[mask], self._doubt[mask]

    def _run(self, numbers: Sequence[int], positions: Tensor) -> None:
        """Keep the network's values at ``positions`` (N, M) of the nodes ``numbers``."""
        self._gradient = _with_room(self._gradient, numbers[-1] + 1)
        self._activations = _with_room(self._activations, numbers[-1] + 1)
        rows = self.nodes.rows.repeat_interleave(len(numbers))
        by_point = torch.as_tensor(numbers, device=rows.device).repeat(len(positions))
        weights = []
        for part, points in self._evaluator.at(self._paths, rows, positions.flatten()):
            place = by_point[part], rows[part]
            self._gradient[place], self._activations[place] = points.gradient, points.activations
            weights.append(points.weights)
        self._note_variation(weights, rows, len(positions))

    def _add_intervals(self, begin: Tensor, end: Tensor) -> None:
        """Set the sums of the intervals from node ``begin`` to node ``end``, both (N, M)."""
        rows = self.nodes.rows.repeat_interleave(end.shape[1])
        kept_rows = torch.arange(len(end), device=end.device).repeat_interleave(end.shape[1])
        for part in slices(len(rows), self._evaluator.batch_size):
            left, right = (begin.flatten()[part], rows[part]), (end.flatten()[part], rows[part])
            change = self._activations[right] - self._activations[left]
            right_sum = position_terms(self._gradient[right], change)
            left_sum = position_terms(self._gradient[left], change)
            place = kept_rows[part], end.flatten()[part]
            self._maps[place] = (right_sum + left_sum) / 2
            difference = (right_sum - left_sum)[..., self._paths.at_end.n_others :]
            self._doubt[place] = difference.norm(dim=2) / 2


def panel_interpolation(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (n, 3) of a panel's nodes in the middles of n equal parts: parabola, and lines."""
    t = (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n
    parabola = [(2 * t - 1) * (t - 1), 4 * t * (1 - t), t * (2 * t - 1)]
    straight = [(1 - 2 * t).relu(), 1 - (2 * t - 1).abs(), (2 * t - 1).relu()]
    return torch.stack(parabola, 1), torch.stack(straight, 1)


def _at(values: Tensor, numbers: Tensor) -> Tensor:
    """Values (N, n, ...) at the node numbers (N, M): (N, M, ...)."""
    return values[torch.arange(len(numbers), device=numbers.device).unsqueeze(1), numbers]


def _appended(kept: Tensor, new: list[Tensor]) -> Tensor:
    """Values (N, n, ...) at nodes, and behind them those at M new nodes, N M in all."""
    return torch.cat([kept, torch.cat(new).unflatten(0, (len(kept), -1))], 1)


def _with_room(kept: Tensor, n: int) -> Tensor:
    """``kept`` with room for n nodes; the room at least doubles when it grows."""
    if n <= len(kept):
        return kept
    larger = kept.new_empty(max(n, 2 * len(kept)), *kept.shape[1:])
    larger[: len(kept)] = kept
    return larger
