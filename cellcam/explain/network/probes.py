"""Images and activations that a network is tried with, and whether answers are the same."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_like(values: Tensor, n: int | None = None) -> Tensor:
    """Normal noise, the same each time: ``n`` rows like those of ``values``, or as many."""
    # A generator of its own leaves the caller's random numbers as they are.
    generator = torch.Generator().manual_seed(0)
    shape = (len(values) if n is None else n, *values.shape[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(values)


def changed_image(x: Tensor) -> Tensor:
    """Another image of the same brightness: ``x`` with noise."""
    return x + image_noise(x)


def image_noise(x: Tensor) -> Tensor:
    """Noise of the spread of the image, (1, C, *spatial)."""
    spread = x.std() if x.numel() > 1 else x.abs().max()
    return noise_like(x) * (spread if spread > 0 else x.abs().max().clamp(min=1e-3))


def agree(a: Tensor, b: Tensor, tolerance: float | None = None) -> bool:
    """Whether rows of ``a`` and ``b`` are equal but for rounding, or to a relative tolerance."""
    a, b = a.detach(), b.detach()
    if tolerance is None:
        tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4 if a.dtype == torch.float32 else 3e-2
    difference = (a - b).abs().amax(tuple(range(1, a.ndim)))
    size = b.abs().amax(tuple(range(1, b.ndim)))
    return bool((difference <= tolerance * size.clamp(min=tolerance)).all())
