"""Where the path begins: the baseline image, and the points between it and the input."""

from __future__ import annotations

import torch
from torch import Tensor

Baseline = float | Tensor


def baseline_images(baselines: Baseline, x: Tensor) -> Tensor:
    """Baseline of every image, in the space of the network's input.

    Parameters
    ----------
    baselines : number, or tensor that broadcasts to ``x``
        For a normalised network input the black image is not 0: pass what zero counts
        become after normalisation.
    x : (N, C, *spatial) tensor

    Returns
    -------
    (N, C, *spatial) tensor, expanded from ``baselines`` without a copy

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    start = torch.as_tensor(baselines, dtype=x.dtype, device=x.device).detach()
    try:
        return start.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"baselines of shape {tuple(start.shape)} do not broadcast to the input's "
            f"{tuple(x.shape)}. Pass a number, or a tensor such as (1, channels, 1, 1)."
        ) from None


def points_on_path(start: Tensor, end: Tensor, position: Tensor) -> Tensor:
    """Points ``start + position * (end - start)``, one position in [0, 1] for each image."""
    position = position.view(-1, *[1] * (end.ndim - 1))
    return torch.lerp(start, end, position)
