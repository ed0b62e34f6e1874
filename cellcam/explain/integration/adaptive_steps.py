"""Path integrals to a requested error: each path gets its nodes where its integrand bends.

A path is cut into panels of two intervals. The panels that contribute most to the error are
halved until the estimated error is small enough for every class. Why: docs/decisions/0006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cellcam.explain.integration.estimates import CompleteEstimator, PaperEstimator
from cellcam.explain.integration.integral import (
    Formula,
    Integral,
    line_terms,
    map_terms,
    relative,
)
from cellcam.explain.network.path_points import PathEvaluator, Paths

MOST_EVALUATIONS = 128
# A map below this share of the integrand at the image, without its ReLU, may have missed as much.
_NEXT_TO_NOTHING = 0.01
_FEWEST_FOR_NOTHING = 32
# Gradients that are kept of the nodes of all paths that are refined together.
_MOST_KEPT = 2**27

RtolOf = Literal["map", "strongest"]


@dataclass(frozen=True)
class Tolerance:
    """Allowed error: ``rtol`` times the L2 norm of each map, or of its path's strongest map.

    Estimated errors are multiplied by ``error_factor``.
    """

    rtol: float
    of: RtolOf = "map"
    error_factor: float = 1.0

    def accounted(self, line: Tensor, change: Tensor) -> Tensor:
        """Whether line integrals are within ``rtol`` of score differences: (N, K)."""
        size = change.abs()
        size = size if self.of == "map" else size.amax(1, keepdim=True).expand_as(size)
        return (line - change).abs() <= self.rtol * size

    def reference(self, maps: Tensor) -> Tensor:
        """Norm that the error of each of ``maps`` (N, K, U) is relative to: (N, K)."""
        norm = maps.norm(dim=2)
        return norm if self.of == "map" else norm.amax(1, keepdim=True).expand_as(norm)


def paths_at_once(evaluator: PathEvaluator, paths: Paths, formula: Formula) -> int:
    """Number of paths to refine together: complete maps keep the gradients of all nodes."""
    if formula == "paper" or evaluator.facts.split.pooled:
        return evaluator.batch_size
    values = paths.at_end.gradient[0].numel()
    return max(1, min(evaluator.batch_size, _MOST_KEPT // (MOST_EVALUATIONS * values)))


def integrate_adaptively(
    evaluator: PathEvaluator, paths: Paths, tolerance: Tolerance, formula: Formula
) -> Integral:
    """Integrals with an estimated error within ``tolerance`` for all classes of a path.

    At layers with tokens without a place, which nothing bypasses, the line integral must be within
    it of the score difference, too: part of it lies outside the map, whose error says nothing
    about that. Stops at 128 points of a path; the estimate then says how far it got.
    """
    result = _from_ends(paths)
    if evaluator.gradient_is_constant and formula == "complete":
        return result
    at_image = tolerance.reference(result.maps)
    active = (CompleteEstimator if formula == "complete" else PaperEstimator)(evaluator, paths)
    nodes = active.nodes
    margin = active.margin * tolerance.error_factor
    new = nodes.refine_all()
    while True:
        active.evaluate(new)
        maps, doubt, line = active.estimate()
        size = tolerance.reference(maps)
        difference = margin * doubt.square().sum(1).sqrt()
        shows = size > _NEXT_TO_NOTHING * at_image[nodes.rows]
        within = relative(difference, size) <= tolerance.rtol
        within &= shows | (nodes.n_evaluations >= _FEWEST_FOR_NOTHING)
        complete = torch.ones_like(within)
        if evaluator.facts.split.closed:
            change = (paths.scores - paths.start_scores)[nodes.rows]
            complete = tolerance.accounted(line, change)
        done = (within & complete).all(1) | (nodes.n_evaluations >= MOST_EVALUATIONS)
        rows = nodes.rows[done]
        result.maps[rows], result.line[rows] = maps[done], line[done]
        result.error[rows] = relative(difference, maps.norm(dim=2))[done]
        result.weights_vary[rows] = active.vary[done]
        result.n_evaluations[rows] = nodes.n_evaluations
        if done.all():
            return result
        doubt = (doubt / size.unsqueeze(1)).nan_to_num().masked_fill(within[:, None], 0)
        # Maps that show nothing yet are searched evenly, the widest intervals first; so are those
        # that are exact although their line integral is not.
        even = within & ~complete
        if nodes.n_evaluations < _FEWEST_FOR_NOTHING:
            even |= ~shows
        widths = nodes.along_path().diff(dim=1).unsqueeze(2)
        doubt = torch.where(even[:, None], 1 + widths, doubt)
        active.keep(~done)
        new = nodes.refine_worst(doubt[~done])


def _from_ends(paths: Paths) -> Integral:
    """The complete map of a constant gradient, from both ends alone; exact."""
    end = paths.at_end
    change = end.activations - paths.start_activations
    maps, line = map_terms(end, change), line_terms(end.gradient, change)
    n_evaluations = torch.ones_like(paths.classes[:, 0])
    weights_vary = torch.zeros_like(paths.classes, dtype=torch.bool)
    return Integral(maps, torch.zeros_like(line), line, n_evaluations, weights_vary)
