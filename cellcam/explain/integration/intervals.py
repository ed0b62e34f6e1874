"""Complete maps of intervals of paths, by the slopes of the head between their ends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cellcam.explain.integration.integral import differ, position_terms
from cellcam.explain.memory import slices
from cellcam.explain.network.path_points import PathEvaluator, Paths
from cellcam.explain.network.slopes import Ends, SlopePass, joined_ends
from cellcam.explain.network.splitting import at_least_float32
from cellcam.explain.scores import gradients


class IntervalMaps(NamedTuple):
    """Maps of M chains of q panels, each of two intervals that meet in its middle."""

    halves: Tensor  # (M, q, 2, K, U) maps of both intervals
    whole: Tensor | None  # (M, q, K, U) map of the panel as a single interval
    vary: Tensor  # (M, K) whether the mean slopes differ within a chain of panels


def interval_maps(
    evaluator: PathEvaluator, paths: Paths, rows: Tensor, ends: Tensor, with_whole: bool
) -> IntervalMaps:
    """Maps of M chains of panels on the paths ``rows`` (M,).

    Parameters
    ----------
    ends : (M, 2 q + 1) positions in ascending order: of a chain of q panels, the beginning, and
        middle and end of each panel
    with_whole : whether to give the maps of whole panels, too
    """
    # A chain that is longer than a batch is cut; each pass then begins where the last one ended.
    length = min(ends.shape[1] // 2, max(1, (evaluator.batch_size - 1) // 2))
    by_rows = []
    for part in slices(len(rows), evaluator.batch_size // (2 * length + 1)):
        chain = [
            _of_chains(evaluator, paths, rows[part], cut, with_whole)
            for cut in _cut(ends[part], length)
        ]
        by_rows.append(_joined(chain, 1))
    return _joined(by_rows, 0)


def _cut(ends: Tensor, length: int) -> list[Tensor]:
    """Chains (M, 2 q + 1) cut into shorter ones, of ``length`` panels."""
    panels = slices(ends.shape[1] // 2, length)
    return [ends[:, 2 * part.start : 2 * part.stop + 1] for part in panels]


def _joined(parts: list[IntervalMaps], axis: int) -> IntervalMaps:
    wholes = [part.whole for part in parts if part.whole is not None]
    vary = [part.vary for part in parts]
    return IntervalMaps(
        torch.cat([part.halves for part in parts], axis),
        torch.cat(wholes, axis) if wholes else None,
        torch.cat(vary) if axis == 0 else torch.stack(vary).any(0),
    )


def _of_chains(
    evaluator: PathEvaluator, paths: Paths, rows: Tensor, ends: Tensor, with_whole: bool
) -> IntervalMaps:
    """As many chains as go through the network at once.

    Points are run in three passes, each panel by panel along the chains: where the chains begin,
    the middles, and the ends of panels. A pass can be differentiated from any points before.
    """
    n_chains, n_panels = len(rows), ends.shape[1] // 2

    def run(positions: Tensor) -> SlopePass:
        by_point = rows.repeat(positions.shape[1])
        evaluator.tick()
        return SlopePass(evaluator.facts.split, paths.points(by_point, positions.T.flatten()))

    begin, middle, end = run(ends[:, :1]), run(ends[:, 1::2]), run(ends[:, 2::2])
    before = joined_ends(begin.ends, [values.of(slice(-n_chains)) for values in end.ends])
    activations = begin.values.activations, end.values.activations
    before_activations = torch.cat([activations[0], activations[1][:-n_chains]])
    classes = paths.classes[rows].repeat(n_panels, 1)

    def maps(done: SlopePass, ends: list[Ends], since: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        """Maps of the intervals that end at these points, chain by chain, and mean slopes."""
        done.begin_at(ends)
        multipliers = _multipliers(evaluator, done, classes, last)
        change = (done.values.activations - since).flatten(2)
        found = position_terms(multipliers, change)
        return found.unflatten(0, (n_panels, n_chains)).transpose(0, 1), multipliers.mean(-1)

    second, slopes = maps(end, middle.ends, middle.values.activations, last=not with_whole)
    first, earlier = maps(middle, before, before_activations, last=True)
    whole = maps(end, before, before_activations, last=True)[0] if with_whole else None
    by_panel = torch.stack([earlier, slopes]).unflatten(1, (n_panels, n_chains))
    vary = differ(by_panel, by_panel[-1, -1]).flatten(0, 1).any(0)
    return IntervalMaps(torch.stack([first, second], 2), whole, vary)


def _multipliers(evaluator: PathEvaluator, done: SlopePass, classes: Tensor, last: bool) -> Tensor:
    """Slopes (M, K, C, U or 1) of the scores by the activations."""
    scores, leaf = done.values.scores, done.values.leaf
    layout = evaluator.facts.split.layout
    found = at_least_float32(gradients(scores, classes, leaf, layout.arranged, keep=not last))
    if evaluator.facts.split.pooled:  # by the mean, of which each position is one U-th
        found = found / layout.space.numel()
    return found
