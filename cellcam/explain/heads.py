"""Heads that see only each feature's mean over space: global pooling and what follows.

Such a head costs next to nothing beside its trunk, so it can be followed along the whole
path where the trunk is known at a few points only. Whether a head is of this kind is found
by running it, never read off its modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cellcam.explain.scores import gradients
from cellcam.explain.splitting import SplitNetwork

# What torch and networks raise for shapes that they cannot take.
_CANNOT_RUN = (RuntimeError, ValueError, IndexError)

# Feature values that go through the head at once.
_MOST_VALUES = 2**22


@dataclass(frozen=True)
class HeadOfMeans:
    """Class scores as a function of the mean activations.

    Attributes
    ----------
    split : the network
    feeder : (1, C, *spatial) image, as small as the trunk takes: its activations are replaced
    affine : (n_classes, K) weights and (n_classes,) offset, where the head is affine
    """

    split: SplitNetwork
    feeder: Tensor
    affine: tuple[Tensor, Tensor] | None = None

    def __call__(self, means: Tensor) -> Tensor:
        """Scores (M, n_classes), differentiable, of mean activations (M, K)."""
        with torch.enable_grad():
            if self.affine is not None:
                weights, offset = self.affine
                return means @ weights.T + offset
            space = [1] * (self.feeder.ndim - 2)
            return self.split.head(self.feeder, means.view(*means.shape, *space))

    def parts(self, means: Tensor) -> list[slice]:
        """Rows of ``means`` (M, K) that the head takes at once."""
        step = max(1, _MOST_VALUES // means.shape[1])
        return [slice(first, first + step) for first in range(0, len(means), step)]


def head_of_means(split: SplitNetwork, example: Tensor) -> HeadOfMeans | None:
    """The head as a function of mean activations, or None if it sees more than the means.

    Tested on the activations of ``example`` and on random ones of several scales and both
    signs; the generator is its own, so that the caller's random numbers stay as they were.
    """
    actual = split.activations(example[:1])
    probes = torch.cat([actual, _random_like(actual)])
    means = probes.flatten(2).mean(2)
    try:
        wanted = split.head(example[:1], probes).detach()
    except _CANNOT_RUN:
        return None  # the network mixes the activations with what bypasses the layer
    for feeder in _smaller(example[:1]):
        head = HeadOfMeans(split, feeder)
        try:
            scores = head(means).detach()
        except _CANNOT_RUN:
            continue
        return _with_affine(head, means) if agree(scores, wanted) else None
    return None


def _with_affine(head: HeadOfMeans, means: Tensor) -> HeadOfMeans:
    means = means.requires_grad_()
    scores = head(means)
    every_class = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    (weights,) = gradients(scores, every_class, [means])
    if not agree(weights, weights[:1].expand_as(weights)):
        return head
    offset = scores[0].detach() - weights[0] @ means[0].detach()
    return HeadOfMeans(head.split, head.feeder, (weights[0], offset))


def _smaller(image: Tensor) -> list[Tensor]:
    """Corners of the image, from tiny to whole: small ones may not survive the trunk."""
    largest = max(image.shape[2:])
    sizes = [size for size in (4, 8, 16, 32, 64) if size < largest]
    cuts = []
    for size in sizes:
        corner: tuple[Any, ...] = (..., *(slice(size) for _ in image.shape[2:]))
        cuts.append(image[corner])
    return [*cuts, image]


def _random_like(actual: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((4, *actual.shape[1:]), generator=generator, dtype=torch.float64)
    scale = actual.double().abs().max().cpu().clamp(min=1e-3) * torch.tensor([0.1, 0.3, 1, 3])
    noise = noise * scale.view(-1, *[1] * (noise.ndim - 1)).double()
    level = noise.new_tensor([0.0, 1.0, -1.0, 0.5]).view(-1, *[1] * (noise.ndim - 1))
    return (noise + level * scale.view_as(level)).to(actual)


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether rows of ``a`` and ``b`` are the same but for rounding."""
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4 if a.dtype == torch.float32 else 3e-2
    difference = (a - b).abs().amax(tuple(range(1, a.ndim)))
    size = b.abs().amax(tuple(range(1, b.ndim)))
    return bool((difference <= tolerance * size.clamp(min=tolerance)).all())
