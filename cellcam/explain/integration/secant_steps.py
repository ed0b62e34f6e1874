"""Complete maps to a requested error, from slopes between the points of each path.

A path is cut into panels of two intervals. The distance between the map of a panel as a whole and
the sum of its halves' says how exact the halves are; panels with the largest distances are halved
until the estimated error is small enough for every class. Why: docs/decisions/0023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cellcam.explain.integration.adaptive_steps import MOST_EVALUATIONS, MOST_KEPT, Tolerance
from cellcam.explain.integration.integral import Integral, relative
from cellcam.explain.integration.intervals import interval_maps
from cellcam.explain.network.path_points import PathEvaluator, Paths

# Error of the halves over the distance: where ReLUs bend independently of each other, in the
# square mean the root of 1/5, and a half of its distance squared, 1/8, after another halving.
_MARGIN, _SHRINKS = 0.7, 1 / 8
# Panels to begin with, for this error; fewer for larger ones, more for smaller.
_FIRST_PANELS, _AT_RTOL, _POWER = 4, 0.05, 0.6
# Halving aims a little below the error that is asked for.
_AIM = 0.95


@dataclass
class _Panels:
    """T panels of all paths, path by path."""

    path: Tensor  # (T,) number of the path
    ends: Tensor  # (T, 3) positions of beginning, middle and end
    halves: Tensor  # (T, 2, K, U) maps of both intervals
    doubt: Tensor  # (T, K) distance between their sum and the map of the panel as a whole


def paths_by_slopes_at_once(paths: Paths) -> int:
    """Number of paths whose maps of all intervals are kept together."""
    values = paths.classes.shape[1] * paths.start_activations.shape[-1]
    return max(1, MOST_KEPT // (MOST_EVALUATIONS * values))


def integrate_by_slopes(evaluator: PathEvaluator, paths: Paths, tolerance: Tolerance) -> Integral:
    """Complete maps with an estimated error within ``tolerance`` for all classes of a path.

    Stops at 128 points of a path; the estimate then says how far it got.
    """
    panels, vary = _first_panels(evaluator, paths, tolerance)
    n_evaluations = torch.full_like(paths.classes[:, 0], 2 * len(panels.path) // paths.n)
    while True:
        maps = _by_path(panels.path, panels.halves.sum(1), paths.n)
        size = tolerance.reference(maps)
        error = _MARGIN * _by_path(panels.path, panels.doubt.square(), paths.n).sqrt()
        done = (relative(error, size) <= tolerance.rtol).all(1)
        done |= n_evaluations >= MOST_EVALUATIONS
        doubt = relative(_MARGIN * panels.doubt, size[panels.path]).nan_to_num().double()
        # On the CPU, where running sums are the same each time.
        chosen = _worst(panels.path.cpu(), doubt.square().cpu(), (_AIM * tolerance.rtol) ** 2)
        chosen = chosen.to(done.device) & ~done[panels.path]
        if not chosen.any():  # all are done, or a network gave no numbers
            error = relative(error, maps.norm(dim=2))
            return Integral(maps, error, maps.sum(2), n_evaluations, vary)
        n_evaluations += 2 * torch.bincount(panels.path[chosen], minlength=paths.n)
        panels = _with_halved(evaluator, paths, panels, chosen)


def _first_panels(
    evaluator: PathEvaluator, paths: Paths, tolerance: Tolerance
) -> tuple[_Panels, Tensor]:
    """Panels of equal width, and whether mean slopes (P, K) differ between their halves."""
    n_panels = max(2, round(_FIRST_PANELS * (_AT_RTOL / tolerance.rtol) ** _POWER))
    n_panels = min(n_panels, MOST_EVALUATIONS // 4)
    rows = torch.arange(paths.n, device=paths.classes.device)
    along = torch.linspace(0, 1, 2 * n_panels + 1, dtype=torch.float64, device=rows.device)
    found = interval_maps(evaluator, paths, rows, along.expand(paths.n, -1), with_whole=True)
    ends = along.unfold(0, 3, 2).repeat(paths.n, 1)
    assert found.whole is not None
    halves = found.halves.flatten(0, 1)
    doubt = _doubt(halves, found.whole.flatten(0, 1))
    panels = _Panels(rows.repeat_interleave(n_panels), ends, halves, doubt)
    return panels, found.vary


def _with_halved(
    evaluator: PathEvaluator, paths: Paths, panels: _Panels, chosen: Tensor
) -> _Panels:
    """The panels with each of those at ``chosen`` (T,) replaced by two, of one interval each."""
    path, ends = panels.path[chosen], panels.ends[chosen]
    middles = (ends[:, :-1] + ends[:, 1:]) / 2
    # Beginning, new middle, middle, new middle, end.
    chain = torch.stack([ends[:, 0], middles[:, 0], ends[:, 1], middles[:, 1], ends[:, 2]], 1)
    found = interval_maps(evaluator, paths, path, chain, with_whole=False)
    halves = found.halves.flatten(0, 1)
    new = _Panels(
        path.repeat_interleave(2),
        chain.unfold(1, 3, 2).flatten(0, 1),
        halves,
        _doubt(halves, panels.halves[chosen].flatten(0, 1)),
    )
    kept = ~chosen
    return _Panels(
        torch.cat([panels.path[kept], new.path]),
        torch.cat([panels.ends[kept], new.ends]),
        torch.cat([panels.halves[kept], new.halves]),
        torch.cat([panels.doubt[kept], new.doubt]),
    )


def _worst(path: Tensor, doubt: Tensor, aim: float) -> Tensor:
    """Panels (T,) to halve, so that the squared doubts (T, K) of each path add up to ``aim``.

    The fewest for which the sum is expected to be as small for all classes, if that can be.
    """
    n_paths = int(path.max()) + 1
    order = doubt.amax(1).argsort(descending=True, stable=True)
    order = order[path[order].argsort(stable=True)]
    sorted_doubt, sorted_path = doubt[order], path[order]
    excess = _by_path(path, doubt, n_paths) - aim
    # What halving those before each panel gains.
    gain = (1 - _SHRINKS) * (sorted_doubt.cumsum(0) - sorted_doubt)
    first = torch.searchsorted(sorted_path, torch.arange(n_paths, device=path.device))
    gain = gain - gain[first.clamp(max=len(path) - 1)][sorted_path]
    chosen = torch.zeros_like(path, dtype=torch.bool)
    chosen[order] = (gain < excess[sorted_path]).any(1)
    return chosen


def _doubt(halves: Tensor, whole: Tensor) -> Tensor:
    """Distance (T, K) between the maps of panels in two halves (T, 2, K, U) and in one."""
    return (halves.sum(1) - whole).norm(dim=2)


def _by_path(path: Tensor, values: Tensor, n_paths: int) -> Tensor:
    """Sums (P, ...) of the values (T, ...) of each path, added up in the same order each time."""
    return torch.stack([values[path == number].sum(0) for number in range(n_paths)])
