"""Refinement where the head can be followed: it sees only the means of the activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cellcam.explain.integral import Formula, differ
from cellcam.explain.interpolation import cubic_coefficients, linear_coefficients, windows
from cellcam.explain.refinement import PARTS, Refinement, edges, middles, positive_part
from cellcam.explain.walking import Paths, Walker

Interpolation = Callable[[Tensor, Tensor], Tensor]

# Places in each part of an interval where the head is asked: its gradients may jump.
_HEAD_SAMPLES = 8
_ROUGH_SAMPLES = 2

# Numbers held at once while a head is followed.
_MOST_VALUES = 2**24


class FollowedHead(Refinement):
    """The activations are interpolated between the nodes, and the head is run on them.

    So gradients that jump or saturate between two nodes are seen where they do. Activations
    are kept node by node, (nodes, N, C, U): neighbours then lie side by side for all paths.
    """

    margin = 2.0

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        super().__init__(walker, paths, formula)
        middle = self._values(self.nodes[:, 1:2])
        ends = (paths.at_start.activations, paths.at_end.point.activations)
        self._activations = torch.stack([ends[0], middle[0], ends[1]])

    def keep(self, mask: Tensor) -> None:
        """Go on with these paths only."""
        super().keep(mask)
        self._activations = self._activations[:, mask]

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """As every refinement's."""
        nodes, _, features, space = self._activations.shape
        for_one = nodes * self.vary.shape[1] * PARTS * max(_HEAD_SAMPLES * features, 8 * space)
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
        best, doubt = (values.mean(2) * width for values in positive_part(cubic, straight))
        return best.sum(1), doubt.norm(dim=3), line

    def _integrand(
        self, block: slice, interpolate: Interpolation, samples: int
    ) -> tuple[Tensor, Tensor]:
        """Integrand before the ReLU in each part of each interval, (n, m, parts, K, U).

        Of the complete map its integral over the part. With it the line integral, (n, K).
        The head is asked at ``samples`` places in each part.
        """
        nodes = self.nodes[block]
        weights, line = self._weights(block, interpolate, PARTS * samples)
        if self.formula == "complete":
            coefficients = interpolate(nodes, edges(PARTS, nodes)).diff(dim=2)
        else:
            coefficients = interpolate(nodes, middles(PARTS, nodes))
        in_parts = weights.unflatten(2, (PARTS, samples)).mean(3)
        near = self._contracted_with_neighbours(in_parts, block)
        return torch.einsum("nmsj,jnmsku->nmsku", coefficients, near), line

    def _weights(
        self, block: slice, interpolate: Interpolation, n_samples: int
    ) -> tuple[Tensor, Tensor]:
        """Mean gradients (n, m, samples, K, C) along the path; line integral (n, K)."""
        nodes, at_end = self.nodes[block], self.paths.at_end.of(self.rows[block])
        n_positions = self._activations.shape[3]
        means = windows(self._activations[:, block].mean(3).transpose(0, 1))
        seen = torch.einsum("nmsj,nmjc->nmsc", interpolate(nodes, middles(n_samples, nodes)), means)
        weights = self.walker.weights_along(seen.flatten(1, 2), at_end.classes, n_positions)
        self.vary[block] |= differ(weights, at_end.point.weights.unsqueeze(1)).any(1)
        weights = weights.unflatten(1, seen.shape[1:3])
        steps = interpolate(nodes, edges(n_samples, nodes)).diff(dim=2)
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
