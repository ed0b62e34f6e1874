"""Refinement where the network is known at the nodes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from cellcam.explain.integral import Formula
from cellcam.explain.interpolation import cubic_coefficients, linear_coefficients, windows
from cellcam.explain.refinement import (
    PARTS,
    Refinement,
    across,
    in_place_of,
    middles,
    positive_part,
    sorted_in,
)
from cellcam.explain.walking import Paths, Walker, contracted

# Estimated error over the root of the summed squares of what each interval leaves in doubt:
# larger where the gradients, too, jump between the nodes (layers followed by more ReLUs).
_MARGIN_AT_POINTS = 4.0
_MARGIN_FOR_JUMPS = 12.0
# Complete maps: that of right and left sum bounds the error of each interval.
_MARGIN_OF_SUMS = 1.0

_FIRST_KEPT = 16


class KnownAtNodes(Refinement):
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
        self._along = torch.stack([begin.along, end.along], 1).unsqueeze(-1)
        # The middle of the root panel is evaluated as that of any other.
        left = torch.zeros_like(self.rows).unsqueeze(1)
        integrand, along, self._line = self._values(left, self.nodes[:, 1:2])
        self._integrand = torch.cat([self._integrand[:, :1], integrand, self._integrand[:, 1:]], 1)
        self._along = torch.cat([self._along[:, :1], along, self._along[:, 1:]], 1)

    def keep(self, mask: Tensor) -> None:
        """Go on with these paths only."""
        super().keep(mask)
        self._integrand, self._along = self._integrand[mask], self._along[mask]
        self._line = self._line[mask]

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """As every refinement's."""
        places = middles(PARTS, self.nodes)
        neighbours = windows(self._integrand)
        cubic, straight = (
            torch.einsum("nmsj,nmjku->nmsku", coefficients(self.nodes, places), neighbours)
            for coefficients in (cubic_coefficients, linear_coefficients)
        )
        width = self.nodes.diff(dim=1)[..., None, None]
        best, doubt = (values.mean(2) * width for values in positive_part(cubic, straight))
        return best.sum(1), doubt.norm(dim=3), self._line.sum((1, 3))

    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        integrand, along, line = self._values(left, middle)
        self._integrand = sorted_in(order, self._integrand, integrand)
        self._along = sorted_in(order, self._along, along)
        self._line = in_place_of(panels, self._line, line)

    def _values(self, left: Tensor, middle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integrand, what the head is a function of, and line integral at ``middle`` (N, M)."""
        own = across(left)
        change = (self._along[own, left + 1] - self._along[own, left]).flatten(0, 1)
        parts = []
        for point, rows, part in self.points_at(middle):
            gradient, along = point.accounts("paper")
            start = self.paths.at_start.activations[rows]
            integrand = point.weights @ (point.activations - start)
            parts.append((integrand, along, contracted(gradient, change[part])))
        integrand, along, line = (
            torch.cat(one).unflatten(0, left.shape) for one in zip(*parts, strict=True)
        )
        return integrand, along, line


class CompleteAtNodes(Refinement):
    """The complete map by the trapezoid rule.

    Gradients and activations are kept at all nodes, in the order of their evaluation: a node's
    gradient is used again whenever an interval beside it is cut. Of each interval right and left
    sum are taken; half of what they differ by is what their mean may be off.
    """

    margin = _MARGIN_OF_SUMS
    first_panels = 2  # fewer than eight points are never enough, and few at a time are dear

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        super().__init__(walker, paths, formula)
        (gradient,), activations = paths.at_end.point.accounts(formula)
        self._gradient = gradient.new_empty(_FIRST_KEPT, *gradient.shape)
        self._activations = activations.new_empty(_FIRST_KEPT, *activations.shape)
        self._gradient[0], self._activations[0] = gradient, activations
        self._n_kept = 1
        # The baseline's gradient is wanted, too.
        first = self._evaluate(self.nodes[:, :-1])
        self._kept_at = torch.cat([first, torch.zeros_like(first[:, :1])], 1)
        self._maps, self._doubt = self._sums(self._kept_at[:, :-1], self._kept_at[:, 1:])

    def keep(self, mask: Tensor) -> None:
        """Go on with these paths only."""
        super().keep(mask)
        self._kept_at = self._kept_at[mask]
        self._maps, self._doubt = self._maps[mask], self._doubt[mask]

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """As every refinement's."""
        maps = self._maps.sum(1)
        return maps, self._doubt, maps.sum(2)

    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        begin, end = self._kept_at.gather(1, left), self._kept_at.gather(1, left + 1)
        new = self._evaluate(middle)
        halves = torch.stack([begin, new, new, end], 2).unflatten(2, (2, 2)).flatten(1, 2)
        maps, doubt = self._sums(*halves.unbind(2))
        self._maps = in_place_of(left, self._maps, maps)
        self._doubt = in_place_of(left, self._doubt, doubt)
        self._kept_at = sorted_in(order, self._kept_at, new)

    def _evaluate(self, positions: Tensor) -> Tensor:
        """Keep what is known at ``positions`` (N, M); where it is kept, (N, M)."""
        new = self._n_kept + torch.arange(positions.shape[1], device=positions.device)
        kept_at = new.expand_as(positions)
        self._n_kept += len(new)
        self._gradient = _with_room(self._gradient, self._n_kept)
        self._activations = _with_room(self._activations, self._n_kept)
        for point, rows, part in self.points_at(positions):
            (gradient,), activations = point.accounts(self.formula)
            place = kept_at.flatten()[part], rows
            self._gradient[place], self._activations[place] = gradient, activations
        return kept_at

    def _sums(self, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, M, K, U) of intervals between kept nodes (N, M), and what is in doubt."""
        rows = self.rows.repeat_interleave(begin.shape[1])
        maps, doubt = [], []
        for part in self.walker.batches(len(rows)):
            left, right = (begin.flatten()[part], rows[part]), (end.flatten()[part], rows[part])
            change = self._activations[right] - self._activations[left]
            sums = [contracted([self._gradient[place]], change) for place in (left, right)]
            maps.append((sums[1] + sums[0]) / 2)
            doubt.append((sums[1] - sums[0]).norm(dim=2) / 2)
        return torch.cat(maps).unflatten(0, begin.shape), torch.cat(doubt).unflatten(0, begin.shape)


def _with_room(kept: Tensor, n: int) -> Tensor:
    """``kept`` with room for n nodes at least; it doubles where that is not enough."""
    if n <= len(kept):
        return kept
    larger = kept.new_empty(max(n, 2 * len(kept)), *kept.shape[1:])
    larger[: len(kept)] = kept
    return larger
