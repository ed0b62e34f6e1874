"""Heads that see only each feature's mean over space: global pooling and the layers behind it.

Their gradient is the same at every position; behind a single linear layer it is the same for all
images, too. Both facts are found by running the head, never read off its modules.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cellcam.explain.network.needed_rows import find_needed_rows
from cellcam.explain.network.probes import agree, noise_like
from cellcam.explain.network.splitting import SplitNetwork
from cellcam.explain.scores import gradients


def sees_means_only(split: SplitNetwork, example: Tensor) -> bool:
    """Whether the head gives the same scores for activations and for their means over space.

    Tested on the activations of ``example`` (1, C, *spatial) and on random ones.
    """
    if not split.layout.can_be_pooled or split.dtype in (torch.float16, torch.bfloat16):
        return False  # in reduced precision everything agrees
    probes = _probes(split, example)
    try:
        return agree(split.head(example, split.layout.means(probes)), split.head(example, probes))
    except (RuntimeError, ValueError, IndexError):  # of shapes that the network cannot take
        return False  # e.g. it mixes the activations with values that bypass the layer


def is_affine(split: SplitNetwork, example: Tensor) -> bool:
    """Whether a head that sees means only has the same gradients everywhere."""
    leaf = split.layout.means(_probes(split, example)).requires_grad_()
    classes = torch.arange(split.n_classes, device=leaf.device).expand(len(leaf), -1)
    found = gradients(split.head(example, leaf), classes, leaf, split.layout.arranged)
    return agree(found, found[:1].expand_as(found))


def with_needed_rows(split: SplitNetwork, example: Tensor) -> SplitNetwork:
    """The network with a head that computes the rows of tokens that its scores depend on.

    Found on the activations of ``example`` (1, C, *spatial) and on random ones, and taken where
    they give the same scores; see `find_needed_rows`.
    """
    if split.layout.image_axis != 0 or split.dtype in (torch.float16, torch.bfloat16):
        return split
    probes = _probes(split, example)
    try:
        rows = find_needed_rows(lambda: split.head(example, probes.clone().requires_grad_()))
    except RuntimeError:  # a head that cannot take several activations, or has no gradients
        return split
    known = replace(split, rows=rows)
    if rows and agree(known.head(example, probes), split.head(example, probes)):
        return known
    return split


def _probes(split: SplitNetwork, example: Tensor) -> Tensor:
    """Activations of the example, and normal ones at four scales around four levels."""
    actual = split.activations(example)
    noise = noise_like(actual, 4)
    by_probe = (-1, *[1] * (noise.ndim - 1))
    scale = (actual.abs().max().clamp(min=1e-3) * noise.new_tensor([0.1, 0.3, 1, 3])).view(by_probe)
    level = noise.new_tensor([0.0, 1.0, -1.0, 0.5]).view(by_probe)
    return torch.cat([actual, (noise + level) * scale])
