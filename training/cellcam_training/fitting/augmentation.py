"""Augmentation of whole batches on the device: its settings, and how each is applied.

To add an augmentation: a field of `Augmentation`, a step in `augmented`, and a line in
``recipes/default.yaml``.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.functional import gaussian_blur

from cellcam.explain.baselines import baseline_images
from cellcam_training.fitting.recipe_file import Settings

Share = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(Settings):
    """Random changes of a crop that do not change its class.

    Attributes
    ----------
    flips : flips and quarter turns, without interpolation
    rotation_degrees : largest rotation, in both directions; 2-D only
    scaling : largest relative change of size, in both directions; 2-D only
    shift : largest shift in pixels, in both directions; 2-D only
    brightness : largest relative change of each channel's intensity; keep it small if total
        intensity carries the class, as DNA content does
    background : largest shift of each channel's level, in standard deviations of the channel
    blur : largest standard deviation of a Gaussian blur, in pixels; 2-D only; 0 if focus
        carries the class
    noise : standard deviation of Gaussian noise, in units of the normalised image
    missing_stain : probability that a channel is replaced by background or blurred strongly;
        channel shares are measured on such images, so they need a network trained with some
    """

    flips: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 45.0
    scaling: Share = 0.08
    shift: Annotated[float, Field(ge=0)] = 2.0
    brightness: Share = 0.05
    background: Annotated[float, Field(ge=0)] = 0.0
    blur: Annotated[float, Field(ge=0)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.02
    missing_stain: Share = 0.0


def augmented(batch: Tensor, settings: Augmentation, random: torch.Generator) -> Tensor:
    """Apply the augmentations to a batch, with random numbers from ``random``.

    Rotation, scaling and shift share one resampling. MONAI's transforms, applied cell by cell,
    took ten times as long (docs/decisions/0005-small-cnn.md).

    Parameters
    ----------
    batch : (N, C, *spatial) float tensor, normalised
    settings : `Augmentation`
    random : generator on the CPU

    Returns
    -------
    tensor of the same shape
    """
    if settings.flips:
        batch = _flipped(batch, random)
    if batch.ndim == 4 and (settings.rotation_degrees or settings.scaling or settings.shift):
        batch = _resampled(batch, settings, random)
    if settings.brightness:
        batch = batch * (1 + settings.brightness * _uniform_by_channel(batch, random))
    if settings.background:
        batch = batch + settings.background * _uniform_by_channel(batch, random)
    if batch.ndim == 4 and settings.blur:
        batch = _blurred(batch, settings.blur, random)
    if settings.missing_stain:
        batch = _without_stains(batch, settings.missing_stain, random)
    if settings.noise:
        noise = torch.randn(batch.shape, generator=random)
        batch = batch + settings.noise * noise.to(batch.device)
    return batch


def _uniform_by_channel(batch: Tensor, random: torch.Generator) -> Tensor:
    """Uniform numbers in [-1, 1), one for each channel of each image."""
    shape = (len(batch), batch.shape[1], *[1] * (batch.ndim - 2))
    return (2 * torch.rand(shape, generator=random) - 1).to(batch.device)


def _flipped(batch: Tensor, random: torch.Generator) -> Tensor:
    """Flip each image along random axes; transpose half of them if y and x are equally long."""
    square = batch.shape[-1] == batch.shape[-2]
    for axis in range(2, batch.ndim):
        chosen = _coin(batch, random)
        batch = torch.where(chosen, batch.flip(axis), batch)
    return torch.where(_coin(batch, random), batch.mT, batch) if square else batch


def _resampled(batch: Tensor, settings: Augmentation, random: torch.Generator) -> Tensor:
    """Rotate, scale and shift half of the images; the others stay free of interpolation."""
    _, _, height, width = batch.shape
    chosen = torch.randperm(len(batch), generator=random)[: (len(batch) + 1) // 2]
    n = len(chosen)
    uniform = 2 * torch.rand((4, n), generator=random) - 1
    angle = uniform[0] * torch.deg2rad(torch.tensor(settings.rotation_degrees))
    scale = 1 + uniform[1] * settings.scaling
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * scale
    # grid_sample's coordinates go from -1 to 1 along each axis: a rotation of an image that is
    # not square needs the ratio of its sides.
    matrix[:, 0, 1] = -angle.sin() * scale * height / width
    matrix[:, 1, 0] = angle.sin() * scale * width / height
    matrix[:, 0, 2] = uniform[2] * settings.shift * 2 / width
    matrix[:, 1, 2] = uniform[3] * settings.shift * 2 / height
    chosen = chosen.to(batch.device)
    images = batch[chosen]
    grid = affine_grid(matrix.to(batch), list(images.shape), align_corners=False)
    images = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return batch.index_copy(0, chosen, images)


def _blurred(batch: Tensor, most: float, random: torch.Generator) -> Tensor:
    """Blur half of the images; the standard deviation, at most ``most``, is drawn once a batch."""
    sigma = max(1e-3, most * float(torch.rand((), generator=random)))
    chosen = torch.randperm(len(batch), generator=random)[: len(batch) // 2].to(batch.device)
    size = 2 * math.ceil(3 * sigma) + 1
    return batch.index_copy(0, chosen, gaussian_blur(batch[chosen], [size, size], [sigma, sigma]))


def _without_stains(batch: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Replace channels by background in half of the images, blur them in the others.

    Each channel is chosen with probability ``share``; an image never loses all channels.
    """
    n, channels = batch.shape[:2]
    chosen = torch.rand((n, channels), generator=random) < share
    chosen &= ~chosen.all(1, keepdim=True)
    missing = chosen.view(n, channels, *[1] * (batch.ndim - 2)).to(batch.device)
    replacement = torch.where(
        _coin(batch, random), baseline_images("background", batch), baseline_images("blur", batch)
    )
    return torch.where(missing, replacement, batch)


def _coin(batch: Tensor, random: torch.Generator) -> Tensor:
    """True for each image with probability 1/2, (N, 1, ...)."""
    coin = torch.rand(len(batch), generator=random) < 0.5
    return coin.view(-1, *[1] * (batch.ndim - 1)).to(batch.device)
