"""Network values at points of straight paths from baselines to images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from cellcam.explain.baselines import single_channel_starts
from cellcam.explain.memory import slices
from cellcam.explain.network.facts import Baseline, NetworkFacts
from cellcam.explain.network.splitting import Pass, at_least_float32
from cellcam.explain.scores import ClassIndex, Score, class_scores, gradients, select_classes


@dataclass(frozen=True)
class Points:
    """Network values at M points; U positions at the layer, flattened.

    The first ``n_others`` of them have no place, as class tokens; they count in line integrals.
    """

    activations: Tensor  # (M, C, U)
    # (M, K, C, V) of K scores by the activations: V = U, or 1 where it is the same everywhere
    # because the head sees means only.
    gradient: Tensor
    n_others: int = 0

    @cached_property
    def weights(self) -> Tensor:
        """Mean of the gradients over places: (M, K, C)."""
        return self.gradient[..., self.n_others :].mean(-1)

    def of(self, rows: Tensor | slice) -> Points:
        """Some of the points."""
        return Points(self.activations[rows], self.gradient[rows], self.n_others)


class Paths(NamedTuple):
    """P straight paths from baselines to images, and the network's values at both ends."""

    start: Tensor  # (P, channels, *spatial)
    end: Tensor  # (P, channels, *spatial)
    classes: Tensor  # (P, K) that are explained
    logits: Tensor  # (P, n_classes) of the images
    scores: Tensor  # (P, K) of these classes at the images
    start_scores: Tensor  # (P, K) at the baselines
    start_activations: Tensor  # (P, C, U)
    at_end: Points

    @property
    def n(self) -> int:
        """Number of paths."""
        return len(self.end)

    def points(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Images (M, ...) on the paths ``rows`` (M,) at ``positions`` (M,) in [0, 1]."""
        end = self.end[rows]
        return torch.lerp(self.start[rows], end, positions.to(end).view(-1, *[1] * (end.ndim - 1)))

    def of(self, rows: Tensor | slice) -> Paths:
        """Some of the paths."""
        tensors = [values[rows] for values in self[:-1]]
        return Paths._make([*tensors, self.at_end.of(rows)])


@dataclass(frozen=True)
class PathEvaluator:
    """Evaluates a network along paths."""

    facts: NetworkFacts
    score: Score
    batch_size: int  # points that go through the network at once
    tick: Callable[[], object]  # called before each pass; may raise to cancel

    @property
    def gradient_is_constant(self) -> bool:
        """Whether the gradient is the same everywhere on every path."""
        return self.score == "logit" and self.facts.affine

    def paths(self, start: Tensor, x: Tensor, class_idx: ClassIndex) -> Paths:
        """Paths from baselines to images, both (N, C, *spatial), at most a batch of them."""
        self.tick()
        done = self.facts.split.scores(x)
        logits = done.scores.detach()
        classes = select_classes(class_idx, logits)
        scores = self._scores(logits).gather(1, classes)
        at_start = self._at_baselines(start, classes)
        return Paths(start, x, classes, logits, scores, *at_start, self._points(done, classes))

    def single_channel_paths(self, paths: Paths) -> Paths:
        """For each image and channel the path on which only that channel moves: N C paths."""
        starts = single_channel_starts(paths.start, paths.end)
        rows = torch.arange(paths.n, device=starts.device).repeat_interleave(starts.shape[1])
        ends, starts = paths.of(rows), starts.flatten(0, 1)
        start_scores, activations = self._at_baselines(starts, ends.classes)
        return ends._replace(start=starts, start_scores=start_scores, start_activations=activations)

    def at(self, paths: Paths, rows: Tensor, positions: Tensor) -> Iterator[tuple[slice, Points]]:
        """Values at ``positions`` (M,) of the paths ``rows`` (M,), with their place in M."""
        for part in slices(len(rows), self.batch_size):
            images = paths.points(rows[part], positions[part])
            self.tick()
            if self.gradient_is_constant:
                activations = self.facts.split.activations(images)
                activations = self._arranged(activations)
                yield part, Points(activations, paths.at_end.gradient[rows[part]])
            else:
                done = self.facts.split.scores(images)
                yield part, self._points(done, paths.classes[rows[part]])

    def _at_baselines(self, start: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, K) and activations (N, C, U) at baselines; run once where all are the same."""
        if start.stride(0) == 0:
            last = self.facts.last_baseline
            if not last or not torch.equal(last[0].image, start[:1]):
                last[:] = [Baseline(start[:1].clone(), *self._without_gradient(start[:1]))]
            _, activations, logits = last[0]
        else:
            parts = [self._without_gradient(start[s]) for s in slices(len(start), self.batch_size)]
            activations, logits = map(torch.cat, zip(*parts, strict=True))
        scores = self._scores(logits).expand(len(start), -1).gather(1, classes)
        return scores, activations.expand(len(start), -1, -1)

    def _without_gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.tick()
        done = self.facts.split.scores(images)
        return self._arranged(done.activations), done.scores.detach()

    def _scores(self, logits: Tensor) -> Tensor:
        return class_scores(self.score, logits, self.facts.split.output.link)

    def _points(self, done: Pass, classes: Tensor) -> Points:
        with torch.enable_grad():
            scores = self._scores(done.scores)
        layout = self.facts.split.layout
        gradient = at_least_float32(gradients(scores, classes, done.leaf, layout.arranged))
        activations = self._arranged(done.activations)
        if self.facts.split.pooled:  # by the mean, of which each position is one U-th
            gradient = gradient / activations.shape[-1]
        return Points(activations, gradient, layout.n_others)

    def _arranged(self, output: Tensor) -> Tensor:
        return self.facts.split.layout.arranged(output)
