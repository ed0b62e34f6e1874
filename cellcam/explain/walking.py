"""Running the points of many paths through one network, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellcam.explain.classes_at_once import Leaf
from cellcam.explain.heads import HeadOfMeans
from cellcam.explain.integral import Formula
from cellcam.explain.path import points_on_path
from cellcam.explain.scores import ClassIndex, Score, class_scores, gradients, select_classes
from cellcam.explain.splitting import Pass, SplitNetwork


@dataclass(frozen=True)
class AtPoints:
    """What is known at M points of paths; U positions at the layer, flattened.

    Attributes
    ----------
    activations : (M, C, U)
    weights : (M, K, C), means over positions of the gradients of K scores
    along : (M, D), what the head is a function of, linear in the activations: these
        themselves, their means, or what 1 x 1 convolutions make of them
    gradient : of the scores by ``along``, (M, K, D) in parts along the last axis; they are large
        and not worth a copy into one
    """

    activations: Tensor
    weights: Tensor
    along: Tensor
    gradient: Sequence[Tensor]

    def each(self, change: Callable[[Tensor], Tensor]) -> AtPoints:
        """The same with every tensor changed."""
        gradient = [change(part) for part in self.gradient]
        return AtPoints(
            change(self.activations), change(self.weights), change(self.along), gradient
        )

    def accounts(self, formula: Formula) -> tuple[Sequence[Tensor], Tensor]:
        """Gradient and values whose `contracted` changes add up to those of the scores.

        Position by position for the complete formula, (M, K, C, U or 1) and (M, C, U); else
        (M, K, D, 1) in parts and (M, D, 1), as cheap as can be.
        """
        if formula == "paper":
            return [part.unsqueeze(-1) for part in self.gradient], self.along.unsqueeze(-1)
        features = self.activations.shape[-2]
        (gradient,) = self.gradient
        if gradient.shape[-1] == features:  # the same at every position
            return [self.weights.unsqueeze(-1)], self.activations
        return [gradient.unflatten(-1, (features, -1))], self.activations


@dataclass(frozen=True)
class AtInput:
    """What is known at the end of N paths, the images.

    Attributes
    ----------
    logits : (N, n_classes)
    classes : (N, K) that are explained
    score : (N, K) of these classes
    point : activations and gradients
    """

    logits: Tensor
    classes: Tensor
    score: Tensor
    point: AtPoints

    def of(self, rows: Tensor | slice) -> AtInput:
        """The same of some paths."""
        return AtInput(
            self.logits[rows],
            self.classes[rows],
            self.score[rows],
            self.point.each(lambda values: values[rows]),
        )


@dataclass(frozen=True)
class AtBaseline:
    """What is known where N paths begin: scores (N, K), activations (N, C, U), along (N, D)."""

    score: Tensor
    activations: Tensor
    along: Tensor


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
        begin = self.at_start
        at_start = AtBaseline(begin.score[rows], begin.activations[rows], begin.along[rows])
        return Paths(self.start[rows], self.end[rows], at_start, self.at_end.of(rows))


@dataclass(frozen=True)
class Walker:
    """Runs points of paths through ``split``, at most ``batch`` at a time.

    ``tick`` is called before each pass and may raise to cancel. What a single baseline image
    gave is ``remembered`` from call to call: black is black. ``means_only`` says that nothing
    asks for gradients position by position.
    """

    split: SplitNetwork
    head: HeadOfMeans | None
    score: Score
    batch: int
    tick: Callable[[], None]
    remembered: dict[str, Tensor]
    means_only: bool

    @property
    def constant_gradient(self) -> bool:
        """Whether the gradient is the same everywhere on every path."""
        return self.score == "logit" and self.head is not None and self.head.affine is not None

    def at_input(self, x: Tensor, class_idx: ClassIndex) -> AtInput:
        """Evaluate images (N, C, *spatial), at most a batch, and choose their classes."""
        self.tick()
        passed = self.split.scores(x, means_only=self.means_only)
        logits = _wide(passed.scores.detach())
        classes = select_classes(class_idx, passed.scores)
        score = class_scores(self.score, logits).gather(1, classes)
        return AtInput(logits, classes, score, self._point(passed, classes))

    def at_baseline(self, start: Tensor, classes: Tensor) -> AtBaseline:
        """Evaluate where paths begin, (N, C, *spatial); once only if all begin at one place."""
        shared = start.stride(0) == 0
        parts = [start[:1]] if shared else [start[part] for part in self.batches(len(start))]
        values = [self._start_values(part) for part in parts]
        activations, along, logits = (torch.cat(one) for one in zip(*values, strict=True))
        score = class_scores(self.score, logits).expand(len(start), -1).gather(1, classes)
        return AtBaseline(
            score, activations.expand(len(start), -1, -1), along.expand(len(start), -1)
        )

    def values(self, paths: Paths, rows: Tensor, positions: Tensor) -> AtPoints:
        """Activations and gradients at ``positions`` (M,) of the paths ``rows`` (M,)."""
        points = paths.points(rows, positions)
        if self.constant_gradient:
            activations = self.trunk(points)
            end = paths.at_end.point
            gradient = [part[rows] for part in end.gradient]
            return AtPoints(activations, end.weights[rows], activations.mean(-1), gradient)
        self.tick()
        passed = self.split.scores(points, means_only=self.means_only)
        return self._point(passed, paths.at_end.classes[rows])

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
            parts += gradients(scores, wanted[part], [leaf])
        return torch.cat(parts).view(n, p, classes.shape[1], features) / n_positions

    def _start_values(self, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Activations, ``along`` and logits where paths begin."""
        known = self.remembered
        if len(start) == 1 and known and torch.equal(known["start"], start):
            return known["activations"], known["along"], known["logits"]
        self.tick()
        passed = self.split.scores(start, means_only=self.means_only)
        logits = _wide(passed.scores.detach())
        values = _flat(passed.activations), self._along(passed.leaves), logits
        if len(start) == 1:
            known.update(start=start.clone(), activations=values[0], along=values[1], logits=logits)
        return values

    def _point(self, passed: Pass, classes: Tensor) -> AtPoints:
        with torch.enable_grad():
            scores = class_scores(self.score, passed.scores)
        leaves = [leaf.values for leaf in passed.leaves]
        by_leaf = [_wide(one) for one in gradients(scores, classes, leaves, self.split.at_once)]
        sums = torch.stack(list(map(_summed_by_feature, by_leaf, passed.leaves)))
        weights = sums.sum(0) / passed.activations.shape[2:].numel()
        gradient = [self._in_a_row(one, 2) for one in by_leaf]
        return AtPoints(_flat(passed.activations), weights, self._along(passed.leaves), gradient)

    def _along(self, leaves: Sequence[Leaf]) -> Tensor:
        parts = [self._in_a_row(_wide(leaf.values.detach()), 1) for leaf in leaves]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _in_a_row(self, values: Tensor, features: int) -> Tensor:
        """Axis ``features`` and those of space as one; as they lie in memory if that will do."""
        if self.means_only and self.split.execution.channels_last:
            values = values.movedim(features, -1)
        return values.flatten(features)


def _summed_by_feature(gradient: Tensor, leaf: Leaf) -> Tensor:
    """Sum over positions of the gradient by activations, (N, K, C), of that by a leaf."""
    total = gradient.flatten(3).sum(3)
    return total if leaf.weight is None else total @ _wide(leaf.weight)


def contracted(gradient: Sequence[Tensor], values: Tensor) -> Tensor:
    """Sum over features of gradient times values (..., C, U): (..., K, U).

    The gradient is (..., K, C, U or 1), in parts along C.
    """
    own = values.split([part.shape[-2] for part in gradient], -2)
    return torch.stack([_product(*both) for both in zip(gradient, own, strict=True)]).sum(0)


def _product(gradient: Tensor, values: Tensor) -> Tensor:
    if gradient.shape[-1] == 1:
        return gradient.squeeze(-1) @ values
    return (gradient * values.unsqueeze(-3)).sum(-2)


def _flat(activations: Tensor) -> Tensor:
    return _wide(activations).flatten(2)


def _wide(values: Tensor) -> Tensor:
    """At least float32: integrals are added up more exactly than a network may compute."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
