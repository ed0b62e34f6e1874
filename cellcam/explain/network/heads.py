"""Heads that see only each feature's mean over space: global pooling and the layers behind it.

Their gradient is the same at every position; behind a single linear layer it is the same for all
images, too. Both facts are found by running the head, never read off its modules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellcam.explain.network.layouts import means_over_space
from cellcam.explain.network.splitting import SplitNetwork
from cellcam.explain.scores import gradients


def sees_means_only(split: SplitNetwork, example: Tensor) -> bool:
    """Whether the head gives the same scores for activations and for their means over space.

    Tested on the activations of ``example`` (1, C, *spatial) and on random ones.
    """
    probes = _probes(split, example)
    try:
        return agree(split.head(example, means_over_space(probes)), split.head(example, probes))
    except (RuntimeError, ValueError, IndexError):  # of shapes that the network cannot take
        return False  # e.g. it mixes the activations with values that bypass the layer


def is_affine(split: SplitNetwork, example: Tensor) -> bool:
    """Whether a head that sees means only has the same gradients everywhere."""
    leaf = means_over_space(_probes(split, example)).requires_grad_()
    classes = torch.arange(split.n_classes, device=leaf.device).expand(len(leaf), -1)
    found = gradients(split.head(example, leaf), classes, leaf)
    return agree(found, found[:1].expand_as(found))


def _probes(split: SplitNetwork, example: Tensor) -> Tensor:
    """Activations of the example, and normal ones at four scales around four levels."""
    actual = split.activations(example)
    # A generator of its own leaves the caller's random numbers as they are.
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((4, *actual.shape[1:]), generator=generator, dtype=torch.float64)
    largest = actual.abs().max().cpu().double().clamp(min=1e-3)  # Apple's GPUs have no float64
    by_probe = (-1, *[1] * (noise.ndim - 1))
    scale = (largest * noise.new_tensor([0.1, 0.3, 1, 3])).view(by_probe)
    level = noise.new_tensor([0.0, 1.0, -1.0, 0.5]).view(by_probe)
    return torch.cat([actual, ((noise + level) * scale).to(actual)])


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether rows of ``a`` and ``b`` are equal but for rounding."""
    a, b = a.detach(), b.detach()
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4 if a.dtype == torch.float32 else 3e-2
    difference = (a - b).abs().amax(tuple(range(1, a.ndim)))
    size = b.abs().amax(tuple(range(1, b.ndim)))
    return bool((difference <= tolerance * size.clamp(min=tolerance)).all())
