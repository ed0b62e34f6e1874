"""Augmentation of whole batches on the device.

A batch is turned, scaled and shifted in one resampling; MONAI's transforms, applied cell by
cell, took ten times as long (docs/decisions/0005-small-cnn.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.functional import gaussian_blur

from cellcam.explain.path import baseline_images
from cellcam_training.fitting.recipe import Augmentation


def augmented(batch: Tensor, choice: Augmentation, random: torch.Generator) -> Tensor:
    """Randomly changed copy of a batch.

    Parameters
    ----------
    batch : (N, C, *spatial) float tensor, normalised
    choice : what may change, and how far
    random : generator on the CPU

    Returns
    -------
    tensor of the same shape
    """
    if choice.flips:
        batch = _flipped(batch, random)
    if batch.ndim == 4 and (choice.rotation_degrees or choice.scaling or choice.shift):
        batch = _resampled(batch, choice, random)
    shape = (len(batch), batch.shape[1], *[1] * (batch.ndim - 2))
    if choice.brightness:
        factor = 1 + choice.brightness * (2 * torch.rand(shape, generator=random) - 1)
        batch = batch * factor.to(batch.device)
    if choice.background:
        shift = choice.background * (2 * torch.rand(shape, generator=random) - 1)
        batch = batch + shift.to(batch.device)
    if batch.ndim == 4 and choice.blur:
        batch = _blurred(batch, choice.blur, random)
    if choice.missing_stain:
        batch = _without_stains(batch, choice.missing_stain, random)
    if choice.noise:
        noise = torch.randn(batch.shape, generator=random)
        batch = batch + choice.noise * noise.to(batch.device)
    return batch


def _flipped(batch: Tensor, random: torch.Generator) -> Tensor:
    """Each image flipped along random axes and, where y and x are alike, transposed."""
    square = batch.shape[-1] == batch.shape[-2]
    for axis in range(2, batch.ndim):
        chosen = _coin(batch, random)
        batch = torch.where(chosen, batch.flip(axis), batch)
    return torch.where(_coin(batch, random), batch.mT, batch) if square else batch


def _resampled(batch: Tensor, choice: Augmentation, random: torch.Generator) -> Tensor:
    """Half of the images turned, scaled and shifted; the others stay sharp."""
    _, _, height, width = batch.shape
    chosen = torch.randperm(len(batch), generator=random)[: (len(batch) + 1) // 2]
    n = len(chosen)
    uniform = 2 * torch.rand((4, n), generator=random) - 1
    angle = uniform[0] * torch.deg2rad(torch.tensor(choice.rotation_degrees))
    scale = 1 + uniform[1] * choice.scaling
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * scale
    # grid_sample measures in half widths: a turn of a non-square image needs their ratio.
    matrix[:, 0, 1] = -angle.sin() * scale * height / width
    matrix[:, 1, 0] = angle.sin() * scale * width / height
    matrix[:, 0, 2] = uniform[2] * choice.shift * 2 / width
    matrix[:, 1, 2] = uniform[3] * choice.shift * 2 / height
    chosen = chosen.to(batch.device)
    turned = batch[chosen]
    grid = affine_grid(matrix.to(batch), list(turned.shape), align_corners=False)
    turned = grid_sample(turned, grid, padding_mode="reflection", align_corners=False)
    return batch.index_copy(0, chosen, turned)


def _blurred(batch: Tensor, most: float, random: torch.Generator) -> Tensor:
    """Half of the images out of focus, by one standard deviation in pixels, at most ``most``."""
    sigma = max(1e-3, most * float(torch.rand((), generator=random)))
    chosen = torch.randperm(len(batch), generator=random)[: len(batch) // 2].to(batch.device)
    size = 2 * math.ceil(3 * sigma) + 1
    return batch.index_copy(0, chosen, gaussian_blur(batch[chosen], [size, size], [sigma, sigma]))


def _without_stains(batch: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Single channels blank in some images, blurred in others; never all of an image."""
    n, channels = batch.shape[:2]
    chosen = torch.rand((n, channels), generator=random) < share
    chosen &= ~chosen.all(1, keepdim=True)
    missing = chosen.view(n, channels, *[1] * (batch.ndim - 2)).to(batch.device)
    instead = torch.where(
        _coin(batch, random), baseline_images("background", batch), baseline_images("blur", batch)
    )
    return torch.where(missing, instead, batch)


def _coin(batch: Tensor, random: torch.Generator) -> Tensor:
    coin = torch.rand(len(batch), generator=random) < 0.5
    return coin.view(-1, *[1] * (batch.ndim - 1)).to(batch.device)
