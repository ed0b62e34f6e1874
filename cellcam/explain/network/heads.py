"""Heads that see only each feature's mean over space: global pooling and the layers behind it.

Such a head costs next to nothing beside its trunk, so it can be run at many points of a path
where the trunk is known at a few only. Whether a head is of this kind is found by running it,
never read off its modules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cellcam.explain.memory import slices
from cellcam.explain.network.splitting import SplitNetwork
from cellcam.explain.scores import Score, class_scores, gradients

# Errors of torch and of networks for shapes that they cannot take.
_CANNOT_RUN = (RuntimeError, ValueError, IndexError)
# Feature values that go through the head at once.
_MOST_VALUES = 2**22


@dataclass(frozen=True)
class HeadOfMeans:
    """Class scores as a function of the mean activations.

    Attributes
    ----------
    split : the network
    feeder : (1, C, *spatial) image, as small as the trunk takes; its activations are replaced
    affine : (n_classes, C) weights and (n_classes,) offset, where the head is affine
    """

    split: SplitNetwork
    feeder: Tensor
    affine: tuple[Tensor, Tensor] | None = None

    def __call__(self, means: Tensor) -> Tensor:
        """Scores (M, n_classes), differentiable, of mean activations (M, C)."""
        space = [1] * (self.feeder.ndim - 2)
        return self.split.head(self.feeder, means.view(*means.shape, *space))

    def gradients(self, means: Tensor, classes: Tensor, score: Score) -> Tensor:
        """Gradients (M, K, C) of the scores of ``classes`` (M, K) by mean activations (M, C)."""
        parts = []
        for part in slices(len(means), _MOST_VALUES // means.shape[1]):
            leaf = means[part].detach().requires_grad_()
            with torch.enable_grad():
                if self.affine is None:
                    space = [1] * (self.feeder.ndim - 2)
                    logits = self.split.head(self.feeder, leaf.view(*leaf.shape, *space))
                else:
                    weights, offset = self.affine
                    logits = leaf @ weights.T + offset
                scores = class_scores(score, logits)
            parts.append(gradients(scores, classes[part], leaf))
        return torch.cat(parts)


def head_of_means(split: SplitNetwork, example: Tensor) -> HeadOfMeans | None:
    """The head as a function of mean activations, or None if it sees more than the means.

    Tested on the activations of ``example`` and on random ones of several scales and both signs,
    from a generator that leaves the caller's random numbers as they are.
    """
    actual = split.activations(example[:1])
    probes = torch.cat([actual, _random_like(actual)])
    means = probes.flatten(2).mean(2)
    try:
        expected = split.head(example[:1], probes).detach()
    except _CANNOT_RUN:
        return None  # the network mixes the activations with values that bypass the layer
    for feeder in _corners(example[:1]):
        head = HeadOfMeans(split, feeder)
        try:
            scores = head(means).detach()
        except _CANNOT_RUN:
            continue
        return _with_affine(head, means) if _agree(scores, expected) else None
    return None


def _with_affine(head: HeadOfMeans, means: Tensor) -> HeadOfMeans:
    every_class = torch.arange(head.split.n_classes, device=means.device).expand(len(means), -1)
    weights = head.gradients(means, every_class, "logit")
    if not _agree(weights, weights[:1].expand_as(weights)):
        return head
    offset = head(means)[0].detach() - weights[0] @ means[0].detach()
    return replace(head, affine=(weights[0], offset))


def _corners(image: Tensor) -> list[Tensor]:
    """Corners of the image, from tiny to whole: a trunk may not accept small ones."""
    largest = max(image.shape[2:])
    sizes = [size for size in (4, 8, 16, 32, 64) if size < largest]
    space = range(2, image.ndim)
    corners = []
    for size in sizes:
        corner = image
        for axis in space:
            corner = corner.narrow(axis, 0, min(size, image.shape[axis]))
        corners.append(corner)
    return [*corners, image]


def _random_like(actual: Tensor) -> Tensor:
    """Normal activations (4, C, *space) at four scales, around four levels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((4, *actual.shape[1:]), generator=generator, dtype=torch.float64)
    largest = actual.double().abs().max().cpu().clamp(min=1e-3)
    by_probe = (-1, *[1] * (noise.ndim - 1))
    scale = (largest * noise.new_tensor([0.1, 0.3, 1, 3])).view(by_probe)
    level = noise.new_tensor([0.0, 1.0, -1.0, 0.5]).view(by_probe)
    return ((noise + level) * scale).to(actual)


def _agree(a: Tensor, b: Tensor) -> bool:
    """Whether rows of ``a`` and ``b`` are equal but for rounding."""
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4 if a.dtype == torch.float32 else 3e-2
    difference = (a - b).abs().amax(tuple(range(1, a.ndim)))
    size = b.abs().amax(tuple(range(1, b.ndim)))
    return bool((difference <= tolerance * size.clamp(min=tolerance)).all())
