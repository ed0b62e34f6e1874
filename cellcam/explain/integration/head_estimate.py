"""Estimate for heads that see means only: the head is run between the nodes as well."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cellcam.explain.integration.estimates import PARTS, Estimate, middles, positive_part
from cellcam.explain.integration.integral import Formula, differ
from cellcam.explain.integration.interpolation import (
    cubic_coefficients,
    linear_coefficients,
    neighbours,
)
from cellcam.explain.integration.nodes import NewNodes, Nodes
from cellcam.explain.memory import slices
from cellcam.explain.network.path_points import PathEvaluator, Paths

Interpolation = Callable[[Tensor, Tensor], Tensor]

# Places in each part of an interval where the head is run: its gradients may jump there.
_HEAD_SAMPLES, _ROUGH_SAMPLES = 8, 2
# Numbers held at once while the head is run.
_MOST_VALUES = 2**24


class HeadBetweenNodes:
    """Activations are interpolated between the nodes, and the head is run on them.

    So gradients that jump or saturate between two nodes are seen where they do. Activations are
    kept as (nodes, N, C, U), so that a node's values of all paths lie together.
    """

    margin = 2.0

    def __init__(self, evaluator: PathEvaluator, paths: Paths, formula: Formula) -> None:
        self.nodes = Nodes(len(paths), paths.scores)
        self.vary = torch.zeros_like(paths.classes, dtype=torch.bool)
        self._paths, self._is_complete = paths, formula == "complete"
        self._activations = torch.stack([paths.start_activations, paths.at_end.activations])
        self.evaluate(evaluator, self.nodes.refine_all())

    def evaluate(self, evaluator: PathEvaluator, new: NewNodes) -> None:
        """See `Estimator`."""
        rows = new.rows.repeat(new.positions.shape[1])
        found = evaluator.activations_at(self._paths, rows, new.positions.T.flatten())
        found = found.unflatten(0, new.positions.T.shape)
        self._activations = torch.cat([self._activations, found])

    def estimate(self, evaluator: PathEvaluator) -> Estimate:
        """See `Estimator`."""
        nodes, _, features, space = self._activations.shape
        n_classes = self.vary.shape[1]
        values_each = nodes * n_classes * PARTS * max(_HEAD_SAMPLES * features, 8 * space)
        parts = []
        for block in slices(len(self.nodes.rows), _MOST_VALUES // values_each):
            cubic, line = self._integrand(evaluator, block, cubic_coefficients, _HEAD_SAMPLES)
            straight, _ = self._integrand(evaluator, block, linear_coefficients, _ROUGH_SAMPLES)
            if self._is_complete:
                best, doubt = cubic.sum((1, 2)), (cubic - straight).sum(2)
            else:
                width = self.nodes.along_path()[block].diff(dim=1)[..., None, None]
                positive, error = positive_part(cubic, straight)
                best, doubt = (positive.mean(2) * width).sum(1), error.mean(2) * width
            parts.append(Estimate(best, doubt.norm(dim=3), line))
        return Estimate(*map(torch.cat, zip(*parts, strict=True)))

    def keep(self, mask: Tensor) -> None:
        """See `Estimator`."""
        self.nodes.keep(mask)
        self.vary, self._activations = self.vary[mask], self._activations[:, mask]

    def _integrand(
        self, evaluator: PathEvaluator, block: slice, interpolate: Interpolation, samples: int
    ) -> tuple[Tensor, Tensor]:
        """Integrand before the ReLU in each part of each interval, (n, m, parts, K, U).

        For the complete formula its integral over the part. With it the line integral (n, K). The
        head is run at ``samples`` places in each part.
        """
        nodes, order = self.nodes.along_path()[block], self.nodes.order[block]
        paths = self._paths.of(self.nodes.rows[block])
        which = torch.arange(len(self.nodes.rows), device=order.device)[block]
        activations = self._activations[order.T, which]  # (nodes, n, C, U), along the path
        n_samples, n_positions = PARTS * samples, activations.shape[3]
        means = neighbours(activations.mean(3).transpose(0, 1))
        at = torch.einsum("nmsj,nmjc->nmsc", interpolate(nodes, middles(n_samples, nodes)), means)
        head = evaluator.facts.head
        assert head is not None
        classes = paths.classes.repeat_interleave(at[0, ..., 0].numel(), 0)
        weights = head.gradients(at.flatten(0, 2), classes, evaluator.score) / n_positions
        weights = weights.view(*at.shape[:3], -1, at.shape[3])
        self.vary[block] |= differ(weights, paths.at_end.weights[:, None, None]).any(2).any(1)
        steps = interpolate(nodes, _edges(n_samples, nodes)).diff(dim=2)
        change = torch.einsum("nmsj,nmjc->nmsc", steps, means) * n_positions
        line = torch.einsum("nmskc,nmsc->nk", weights, change)
        if self._is_complete:
            coefficients = interpolate(nodes, _edges(PARTS, nodes)).diff(dim=2)
        else:
            coefficients = interpolate(nodes, middles(PARTS, nodes))
        in_parts = weights.unflatten(2, (PARTS, samples)).mean(3)
        near = _contracted_with_neighbours(in_parts, activations - activations[:1])
        return torch.einsum("nmsj,jnmsku->nmsku", coefficients, near), line


def _contracted_with_neighbours(weights: Tensor, activations: Tensor) -> Tensor:
    """Weights (n, m, parts, K, C) times activations (m + 1, n, C, U) of the four nearest nodes.

    Contracting first is cheaper than interpolating activations place by place.

    Returns
    -------
    (4, n, m, parts, K, U) tensor
    """
    n, m, parts, classes, features = weights.shape
    nearest = torch.arange(-1, m + 2, device=weights.device).clamp(0, m)
    activations = activations[nearest]
    rows = weights.transpose(0, 1).reshape(m * n, parts * classes, features)
    products = []
    for j in range(4):
        product = rows @ activations[j : j + m].flatten(0, 1)
        products.append(product.view(m, n, parts, classes, -1).transpose(0, 1))
    return torch.stack(products)


def _edges(n: int, like: Tensor) -> Tensor:
    """Edges of n equal parts of [0, 1]."""
    return torch.arange(n + 1, device=like.device, dtype=like.dtype) / n
