"""Running the points of many paths through one network, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cellcam.explain.heads import HeadOfMeans
from cellcam.explain.path import points_on_path
from cellcam.explain.scores import ClassIndex, Score, class_scores, gradients, select_classes
from cellcam.explain.splitting import SplitNetwork


@dataclass(frozen=True)
class AtInput:
    """What is known at the end of N paths, the images; U positions at the layer, flattened.

    Attributes
    ----------
    logits : (N, n_classes)
    classes : (N, K) that are explained
    score : (N, K) of these classes
    activations : (N, C, U)
    gradients : (N, K, C, U) of the scores; (N, K, C, 1) where the head sees only means
    """

    logits: Tensor
    classes: Tensor
    score: Tensor
    activations: Tensor
    gradients: Tensor

    def of(self, rows: Tensor | slice) -> AtInput:
        """The same of some paths."""
        return AtInput(
            self.logits[rows],
            self.classes[rows],
            self.score[rows],
            self.activations[rows],
            self.gradients[rows],
        )


@dataclass(frozen=True)
class AtBaseline:
    """What is known where N paths begin: scores (N, K) and activations (N, C, U)."""

    score: Tensor
    activations: Tensor


@dataclass(frozen=True)
class Paths:
    """Straight paths of P images from ``start`` to ``end``, both (P, C, *spatial)."""

    start: Tensor
    end: Tensor
    at_start: AtBaseline
    at_end: AtInput

    def __len__(self) -> int:
        return len(self.end)

    def points(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Points (M, C, *spatial) on the paths ``rows`` (M,) at ``positions`` (M,)."""
        return points_on_path(self.start[rows], self.end[rows], positions)

    def parts(self, n: int) -> list[Paths]:
        """The same paths, at most ``n`` at a time."""
        return [self._part(slice(first, first + n)) for first in range(0, len(self), n)]

    def _part(self, rows: slice) -> Paths:
        at_start = AtBaseline(self.at_start.score[rows], self.at_start.activations[rows])
        return Paths(self.start[rows], self.end[rows], at_start, self.at_end.of(rows))


@dataclass(frozen=True)
class Walker:
    """Runs points of paths through ``split``, at most ``batch`` at a time.

    ``tick`` is called before each pass and may raise to cancel. What a single baseline image
    gave is ``remembered`` from call to call: black is black.
    """

    split: SplitNetwork
    head: HeadOfMeans | None
    score: Score
    batch: int
    tick: Callable[[], None]
    remembered: dict[str, Tensor]

    @property
    def constant_gradient(self) -> bool:
        """Whether the gradient is the same everywhere on every path."""
        return self.score == "logit" and self.head is not None and self.head.affine is not None

    def at_input(self, x: Tensor, class_idx: ClassIndex) -> AtInput:
        """Evaluate images (N, C, *spatial), at most a batch, and choose their classes."""
        self.tick()
        activations, leaf, logits = self.split.scores(x)
        classes = select_classes(class_idx, logits)
        gradient, scores = self._gradients(leaf, logits, classes, activations)
        score = _wide(scores.detach()).gather(1, classes)
        return AtInput(_wide(logits.detach()), classes, score, _flat(activations), gradient)

    def at_baseline(self, start: Tensor, classes: Tensor) -> AtBaseline:
        """Evaluate where paths begin, (N, C, *spatial); once only if all begin at one place."""
        shared = start.stride(0) == 0
        parts = [start[:1]] if shared else [start[part] for part in self.batches(len(start))]
        values = [self._start_values(part) for part in parts]
        activations, logits = (torch.cat(one) for one in zip(*values, strict=True))
        score = class_scores(self.score, logits).expand(len(start), -1).gather(1, classes)
        return AtBaseline(score, activations.expand(len(start), -1, -1))

    def values(self, paths: Paths, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (M, C, U) and gradients (M, K, C, U or 1) on the paths ``rows`` (M,)."""
        points = paths.points(rows, positions)
        if self.constant_gradient:
            return self.trunk(points), paths.at_end.gradients[rows]
        self.tick()
        activations, leaf, logits = self.split.scores(points)
        classes = paths.at_end.classes[rows]
        return _flat(activations), self._gradients(leaf, logits, classes, activations)[0]

    def trunk(self, points: Tensor) -> Tensor:
        """Activations (N, C, U) alone."""
        self.tick()
        return _flat(self.split.activations(points))

    def batches(self, n: int) -> list[slice]:
        """``n`` points in parts that go through the network at once."""
        return [slice(first, first + self.batch) for first in range(0, n, self.batch)]

    def weights_along(self, means: Tensor, classes: Tensor, n_positions: int) -> Tensor:
        """Mean gradients (N, P, K, C) of a head of means at mean activations (N, P, C)."""
        assert self.head is not None
        n, p, features = means.shape
        flat = means.reshape(-1, features)
        wanted = classes.repeat_interleave(p, 0)
        parts = []
        for part in self.head.parts(flat):
            leaf = flat[part].detach().requires_grad_()
            logits = self.head(leaf)
            with torch.enable_grad():
                scores = class_scores(self.score, logits)
            parts.append(gradients(scores, wanted[part], leaf))
        return torch.cat(parts).view(n, p, classes.shape[1], features) / n_positions

    def _start_values(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Activations and logits where paths begin."""
        known = self.remembered
        if len(start) == 1 and known and torch.equal(known["start"], start):
            return known["activations"], known["logits"]
        self.tick()
        activations, _, logits = self.split.scores(start)
        values = _flat(activations), _wide(logits.detach())
        if len(start) == 1:
            known.update(start=start.clone(), activations=values[0], logits=values[1])
        return values

    def _gradients(
        self, leaf: Tensor, logits: Tensor, classes: Tensor, activations: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            scores = class_scores(self.score, logits)
        gradient = _flat(gradients(scores, classes, leaf), 3)
        if self.split.pooled:  # by the mean; by one of the U positions it is 1 / U of that
            gradient = gradient / activations.shape[2:].numel()
        return gradient, scores


def contracted(gradient: Tensor, values: Tensor) -> Tensor:
    """Sum over features of gradient (..., K, C, U or 1) times values (..., C, U): (..., K, U)."""
    if gradient.shape[-1] == 1:
        return gradient.squeeze(-1) @ values
    return (gradient * values.unsqueeze(-3)).sum(-2)


def _flat(activations: Tensor, first_axis: int = 2) -> Tensor:
    return _wide(activations).flatten(first_axis)


def _wide(values: Tensor) -> Tensor:
    """At least float32: integrals are added up more exactly than a network may compute."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
