"""Path integrals to a wanted accuracy: every path gets its points where it bends.

A path is cut into panels of two intervals each. The panels that contribute most to the error
are cut in two, until the estimate holds for every class. Between its points the integrand is
interpolated; how far the cubic interpolant lies from the straight one tells how large the
error may be. Why so: docs/decisions/0007.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cellcam.explain.integral import Formula, Integral, differ, relative
from cellcam.explain.interpolation import cubic_coefficients, linear_coefficients, windows
from cellcam.explain.walking import Paths, Walker, contracted

MOST_EVALUATIONS = 128
# A map that shows next to nothing, below this share of the integrand at the image without
# its ReLU, may have missed as much between few points.
_NEXT_TO_NOTHING = 0.01
_FEWEST_FOR_NOTHING = 32

# Parts of an interval in the middle of which the integrand is taken, and places in each part
# where a head that can be followed is asked: its gradients may jump.
_PARTS = 4
_HEAD_SAMPLES = 8
_ROUGH_SAMPLES = 2

# The error estimate over the root of the summed squares of what each interval leaves in doubt:
# small where the head is followed between the points, larger where only the points tell, and
# largest where the gradients, too, jump between them (layers followed by more ReLUs).
_MARGIN_IF_FOLLOWED = 2.0
_MARGIN_AT_POINTS = 4.0
_MARGIN_FOR_JUMPS = 12.0

Interpolation = Callable[[Tensor, Tensor], Tensor]
RtolOf = Literal["map", "strongest"]

# Numbers held at once while a head is followed.
_MOST_VALUES = 2**24


@dataclass(frozen=True)
class Tolerance:
    """Error that is allowed: ``rtol`` of each map's L2 norm, or of its path's strongest map's."""

    rtol: float
    of: RtolOf = "map"

    def reference(self, maps: Tensor) -> Tensor:
        """What the error of each of ``maps`` (N, K, U) is a share of: (N, K)."""
        norm = maps.norm(dim=2)
        return norm if self.of == "map" else norm.amax(1, keepdim=True).expand_as(norm)


def integrate_adaptively(
    walker: Walker, paths: Paths, tolerance: Tolerance, formula: Formula
) -> Integral:
    """Integrals with an estimated L2 error within ``tolerance``, all classes of a path.

    Stops at 128 points of a path; the estimate then says how far it got.
    """
    if walker.constant_gradient and formula == "complete":
        return _without_integrating(paths)
    kind = _FollowedHead if walker.head and not walker.constant_gradient else _KnownAtNodes
    active = kind(walker, paths, formula)
    active.cut(active.all_panels())
    result = _without_integrating(paths)
    at_image = tolerance.reference(result.maps)
    while True:
        maps, doubt, line = active.integrals()
        size = tolerance.reference(maps)
        difference = active.margin * doubt.square().sum(1).sqrt()
        error = relative(difference, maps.norm(dim=2))
        shows = size > _NEXT_TO_NOTHING * at_image[active.rows]
        seen = relative(difference, size) <= tolerance.rtol
        seen &= shows | (active.n_evaluations >= _FEWEST_FOR_NOTHING)
        done = seen.all(1) | (active.n_evaluations >= MOST_EVALUATIONS)
        rows = active.rows[done]
        result.maps[rows], result.error[rows] = maps[done], error[done]
        result.line[rows], result.weights_vary[rows] = line[done], active.vary[done]
        result.n_evaluations[rows] = active.n_evaluations
        if done.all():
            return result
        doubt = (doubt / size.unsqueeze(1)).nan_to_num().masked_fill(seen[:, None], 0)
        if active.n_evaluations < _FEWEST_FOR_NOTHING:
            widest = active.widths(doubt.shape[1]).unsqueeze(2)
            doubt = torch.where(shows[:, None], doubt, 1 + widest)
        active.keep(~done)
        active.cut(active.worst_panels(doubt[~done]))


def _without_integrating(paths: Paths) -> Integral:
    """The complete map of a gradient that is constant, from both ends alone; exact."""
    end = paths.at_end.point
    maps = end.weights @ (end.activations - paths.at_start.activations)
    return Integral(
        maps=maps,
        error=torch.zeros_like(maps[..., 0]),
        line=maps.sum(2),
        n_evaluations=torch.ones_like(paths.at_end.classes[:, 0]),
        weights_vary=torch.zeros_like(paths.at_end.classes, dtype=torch.bool),
    )


class _Refinement(ABC):
    """N paths with P panels each; panel j has the nodes 2j, 2j + 1 and 2j + 2.

    Attributes
    ----------
    rows : (N,) which paths
    nodes : (N, 2 P + 1) positions
    vary : (N, K) whether the mean gradients differed so far
    margin : estimated error over the difference of cubic and linear integral
    """

    margin = _MARGIN_IF_FOLLOWED

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        self.walker, self.paths, self.formula = walker, paths, formula
        self.rows = torch.arange(len(paths), device=paths.end.device)
        self.nodes = paths.at_end.score.new_tensor([0.0, 0.5, 1.0]).repeat(len(paths), 1)
        self.vary = torch.zeros_like(paths.at_end.classes, dtype=torch.bool)

    @property
    def n_panels(self) -> int:
        return self.nodes.shape[1] // 2

    @property
    def n_evaluations(self) -> int:
        return 2 * self.n_panels

    def all_panels(self) -> Tensor:
        """Every panel of every path: (N, P)."""
        return torch.arange(self.n_panels, device=self.rows.device).repeat(len(self.rows), 1)

    def widths(self, n_pieces: int) -> Tensor:
        """Extent of each piece, be it a panel or an interval: (N, pieces)."""
        return self.nodes[:, :: (self.nodes.shape[1] - 1) // n_pieces].diff(dim=1)

    def worst_panels(self, doubt: Tensor) -> Tensor:
        """Panels (N, Q) to cut, given the doubt (N, pieces, K) about each piece."""
        if self.n_panels < 4:
            return self.all_panels()
        by_panel = doubt.amax(2).unflatten(1, (self.n_panels, -1)).sum(2)
        return by_panel.topk(max(2, self.n_panels // 4), dim=1).indices.sort(1).values

    def cut(self, panels: Tensor) -> None:
        """Make two panels of each of ``panels`` (N, Q, ascending): two more nodes."""
        left = torch.stack([2 * panels, 2 * panels + 1], 2).flatten(1)
        middle = (self.nodes.gather(1, left) + self.nodes.gather(1, left + 1)) / 2
        nodes, order = torch.cat([self.nodes, middle], 1).sort(1)
        self._cut(panels, left, middle, order)
        self.nodes = nodes

    def keep(self, mask: Tensor) -> None:
        """Go on with these paths only."""
        self.rows, self.nodes, self.vary = self.rows[mask], self.nodes[mask], self.vary[mask]

    @abstractmethod
    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (N, K, U); what each piece leaves in doubt (N, pieces, K); line integral (N, K)."""

    @abstractmethod
    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        """Evaluate the ``middle`` (N, 2 Q) of the intervals that begin at node ``left``.

        ``order`` brings old nodes and new ones, one after the other, into that of the path.
        """


class _KnownAtNodes(_Refinement):
    """The integrand is known at the nodes, before the ReLU, and interpolated between them.

    The line integral of a panel is the gradient at its middle times the difference of the
    activations at its ends.
    """

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        super().__init__(walker, paths, formula)
        self.margin = _MARGIN_AT_POINTS if walker.constant_gradient else _MARGIN_FOR_JUMPS
        begin, end = paths.at_start, paths.at_end.point
        at_end = end.weights @ (end.activations - begin.activations)
        self._integrand = torch.stack([torch.zeros_like(at_end), at_end], 1)
        along = begin.along.unsqueeze(-1) if formula == "paper" else begin.activations
        self._along = torch.stack([along, end.accounts(formula)[1]], 1)
        # The middle of the root panel is evaluated as that of any other.
        left = torch.zeros_like(self.rows).unsqueeze(1)
        new = self._values(left, self.nodes[:, 1:2])
        self._integrand, self._along = (
            torch.cat([old[:, :1], middle, old[:, 1:]], 1)
            for old, middle in zip((self._integrand, self._along), new[:2], strict=True)
        )
        self._line = self._rough_line = new[2]

    def keep(self, mask: Tensor) -> None:
        super().keep(mask)
        self._integrand, self._along = self._integrand[mask], self._along[mask]
        self._line, self._rough_line = self._line[mask], self._rough_line[mask]

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        line = self._line.sum((1, 3))
        if self.formula == "complete":
            return self._line.sum(1), (self._line - self._rough_line).norm(dim=3), line
        places = _middles(_PARTS, self.nodes)
        neighbours = windows(self._integrand)
        cubic, straight = (
            torch.einsum("nmsj,nmjku->nmsku", coefficients(self.nodes, places), neighbours)
            for coefficients in (cubic_coefficients, linear_coefficients)
        )
        width = self.nodes.diff(dim=1)[..., None, None]
        best, doubt = (values.mean(2) * width for values in _positive_part(cubic, straight))
        return best.sum(1), doubt.norm(dim=3), line

    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        integrand, along, line = self._values(left, middle)
        self._integrand = _sorted_in(order, self._integrand, integrand)
        self._along = _sorted_in(order, self._along, along)
        # What cutting a panel has changed says how far its halves may still be off.
        parents = self._line[_across(panels), panels]
        halves = line.unflatten(1, (-1, 2))
        rough = halves + (parents - halves.sum(2)).unsqueeze(2) / 2
        others = torch.ones(self._line.shape[:2], dtype=torch.bool, device=line.device)
        others[_across(panels), panels] = False
        uncut = others.nonzero()[:, 1].view(len(panels), -1)
        order = torch.cat([2 * uncut, left], 1).argsort(1)
        kept = (one[others].unflatten(0, uncut.shape) for one in (self._line, self._rough_line))
        self._line, self._rough_line = (
            _sorted_in(order, old, new)
            for old, new in zip(kept, (line, rough.flatten(1, 2)), strict=True)
        )

    def _values(self, left: Tensor, middle: Tensor) -> tuple[Tensor, ...]:
        """Integrand, what the head is a function of, and line integral at ``middle`` (N, M)."""
        own = torch.arange(len(left), device=left.device).repeat_interleave(left.shape[1])
        start, position = left.flatten(), middle.flatten()
        parts = []
        for part in self.walker.batches(len(own)):
            row, i = own[part], start[part]
            change = self._along[row, i + 1] - self._along[row, i]
            parts.append(self._run(self.rows[row], position[part], change))
        integrand, along, line, vary = (
            torch.cat(one).unflatten(0, left.shape) for one in zip(*parts, strict=True)
        )
        self.vary |= vary.any(1)
        return integrand, along, line

    def _run(self, rows: Tensor, position: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        point = self.walker.values(self.paths, rows, position)
        gradient, along = point.accounts(self.formula)
        integrand = point.weights @ (point.activations - self.paths.at_start.activations[rows])
        at_end = self.paths.at_end.point.weights[rows]
        return integrand, along, contracted(gradient, change), differ(point.weights, at_end)


class _FollowedHead(_Refinement):
    """The activations are interpolated between the nodes, and the head is run on them.

    So gradients that jump or saturate between two nodes are seen where they do. Activations
    are kept node by node, (nodes, N, C, U): neighbours then lie side by side for all paths.
    """

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        super().__init__(walker, paths, formula)
        middle = self._values(self.nodes[:, 1:2])
        ends = (paths.at_start.activations, paths.at_end.point.activations)
        self._activations = torch.stack([ends[0], middle[0], ends[1]])

    def keep(self, mask: Tensor) -> None:
        super().keep(mask)
        self._activations = self._activations[:, mask]

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        nodes, _, features, space = self._activations.shape
        for_one = nodes * self.vary.shape[1] * _PARTS * max(_HEAD_SAMPLES * features, 8 * space)
        block = max(1, _MOST_VALUES // for_one)
        parts = [
            self._integrals_of(slice(first, first + block))
            for first in range(0, len(self.rows), block)
        ]
        return tuple(torch.cat(values) for values in zip(*parts, strict=True))  # type: ignore[return-value]

    def _integrals_of(self, block: slice) -> tuple[Tensor, Tensor, Tensor]:
        """`integrals` of some of the paths."""
        nodes = self.nodes[block]
        cubic, line = self._integrand(block, cubic_coefficients, _HEAD_SAMPLES)
        straight, _ = self._integrand(block, linear_coefficients, _ROUGH_SAMPLES)
        if self.formula == "complete":
            return cubic.sum((1, 2)), (cubic - straight).sum(2).norm(dim=3), line
        width = nodes.diff(dim=1)[..., None, None]
        best, doubt = (values.mean(2) * width for values in _positive_part(cubic, straight))
        return best.sum(1), doubt.norm(dim=3), line

    def _integrand(
        self, block: slice, interpolate: Interpolation, samples: int
    ) -> tuple[Tensor, Tensor]:
        """Integrand before the ReLU in each part of each interval, (n, m, parts, K, U).

        Of the complete map its integral over the part. With it the line integral, (n, K).
        The head is asked at ``samples`` places in each part.
        """
        nodes = self.nodes[block]
        weights, line = self._weights(block, interpolate, _PARTS * samples)
        if self.formula == "complete":
            coefficients = interpolate(nodes, _edges(_PARTS, nodes)).diff(dim=2)
        else:
            coefficients = interpolate(nodes, _middles(_PARTS, nodes))
        in_parts = weights.unflatten(2, (_PARTS, samples)).mean(3)
        near = self._contracted_with_neighbours(in_parts, block)
        return torch.einsum("nmsj,jnmsku->nmsku", coefficients, near), line

    def _weights(
        self, block: slice, interpolate: Interpolation, n_samples: int
    ) -> tuple[Tensor, Tensor]:
        """Mean gradients (n, m, samples, K, C) along the path; line integral (n, K)."""
        nodes, at_end = self.nodes[block], self.paths.at_end.of(self.rows[block])
        n_positions = self._activations.shape[3]
        means = windows(self._activations[:, block].mean(3).transpose(0, 1))
        seen = torch.einsum(
            "nmsj,nmjc->nmsc", interpolate(nodes, _middles(n_samples, nodes)), means
        )
        weights = self.walker.weights_along(seen.flatten(1, 2), at_end.classes, n_positions)
        self.vary[block] |= differ(weights, at_end.point.weights.unsqueeze(1)).any(1)
        weights = weights.unflatten(1, seen.shape[1:3])
        steps = interpolate(nodes, _edges(n_samples, nodes)).diff(dim=2)
        change = torch.einsum("nmsj,nmjc->nmsc", steps, means) * n_positions
        return weights, torch.einsum("nmskc,nmsc->nk", weights, change)

    def _contracted_with_neighbours(self, weights: Tensor, block: slice) -> Tensor:
        """Weights (n, m, parts, K, C) times four nodes' activations: (4, n, m, parts, K, U)."""
        n, m, parts, classes, features = weights.shape
        activations = self._activations[:, block]
        activations = activations - activations[:1]
        nearest = torch.arange(-1, m + 2, device=weights.device).clamp(0, m)
        activations = activations[nearest]
        rows = weights.transpose(0, 1).reshape(m * n, parts * classes, features)
        products = [
            (rows @ activations[j : j + m].flatten(0, 1))
            .view(m, n, parts, classes, -1)
            .transpose(0, 1)
            for j in range(4)
        ]
        return torch.stack(products)

    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        all_nodes = torch.cat([self._activations, self._values(middle)])
        self._activations = all_nodes[order.T, torch.arange(len(order), device=order.device)]

    def _values(self, positions: Tensor) -> Tensor:
        """Activations (M, N, C, U) at ``positions`` (N, M)."""
        rows = self.rows.repeat(positions.shape[1])
        flat = positions.T.flatten()
        parts = [
            self.walker.trunk(self.paths.points(rows[part], flat[part]))
            for part in self.walker.batches(len(rows))
        ]
        return torch.cat(parts).unflatten(0, positions.T.shape)


def _positive_part(best: Tensor, rough: Tensor) -> tuple[Tensor, Tensor]:
    """Positive part of ``best``, and its error if ``best`` errs by its distance from ``rough``."""
    doubt = (best - rough).abs()
    # Somewhat below zero it may be positive for all that is known.
    return best.relu(), torch.minimum(doubt, (best + 4 * doubt).relu())


def _middles(n: int, like: Tensor) -> Tensor:
    """Middles of n equal parts of [0, 1]."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n


def _edges(n: int, like: Tensor) -> Tensor:
    """Edges of n equal parts of [0, 1]."""
    return torch.arange(n + 1, device=like.device, dtype=like.dtype) / n


def _across(index: Tensor) -> Tensor:
    return torch.arange(len(index), device=index.device).unsqueeze(1)


def _sorted_in(order: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Old and new values (N, M, ...) in the given order (N, M)."""
    return torch.cat([old, new], 1)[_across(order), order]
