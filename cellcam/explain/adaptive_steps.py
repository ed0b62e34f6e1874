"""Path integrals to a wanted accuracy: every path gets its points where it bends.

A path is cut into panels of two intervals each. The panels that contribute most to the error
are cut in two, until the estimate holds for every class. Why so: docs/decisions/0007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cellcam.explain.followed_head import FollowedHead
from cellcam.explain.integral import Formula, Integral, relative
from cellcam.explain.refinement import Refinement
from cellcam.explain.refining_nodes import CompleteAtNodes, KnownAtNodes
from cellcam.explain.walking import Paths, Walker

MOST_EVALUATIONS = 128
# A map that shows next to nothing, below this share of the integrand at the image without
# its ReLU, may have missed as much between few points.
_NEXT_TO_NOTHING = 0.01
_FEWEST_FOR_NOTHING = 32

# Gradients by activations that are kept of the nodes of paths that are followed together.
_MOST_KEPT = 2**27

RtolOf = Literal["map", "strongest"]


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
    parts = paths.parts(_paths_at_once(walker, paths, formula))
    return Integral.joined([_integrated(walker, part, tolerance, formula) for part in parts])


def _paths_at_once(walker: Walker, paths: Paths, formula: Formula) -> int:
    """How many paths are followed together: complete maps keep the gradients of all nodes."""
    if formula == "paper" or walker.head:
        return len(paths)
    values = paths.at_end.point.activations[0].numel() * paths.at_end.classes.shape[1]
    return max(1, _MOST_KEPT // (MOST_EVALUATIONS * values))


def _integrated(walker: Walker, paths: Paths, tolerance: Tolerance, formula: Formula) -> Integral:
    if walker.constant_gradient and formula == "complete":
        return _without_integrating(paths)
    active = _refinement(walker, paths, formula)
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


def _refinement(walker: Walker, paths: Paths, formula: Formula) -> Refinement:
    if walker.head and not walker.constant_gradient:
        return FollowedHead(walker, paths, formula)
    kind = CompleteAtNodes if formula == "complete" else KnownAtNodes
    return kind(walker, paths, formula)


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
