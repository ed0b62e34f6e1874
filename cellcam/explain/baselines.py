"""Baselines: the images in which paths begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

BaselineName = Literal["black", "background", "blur"]
Baseline = float | Tensor | BaselineName | Callable[[Tensor], Tensor]

_BLUR_SHARE = 0.1  # sigma by the image's extent: no part of a cell can be made out


def baseline_images(baselines: Baseline, x: Tensor, black: float | Tensor = 0.0) -> Tensor:
    """Baseline of every image, in the space of the network's input.

    Parameters
    ----------
    baselines : a number; a tensor that broadcasts to ``x``; a function from ``x`` to such a tensor;
        or ``"black"`` (zero counts), ``"background"`` (each channel's median along the image's
        border, where in most crops no cell lies), ``"blur"`` (sigma a tenth of the extent)
    x : (N, C, *spatial) tensor
    black : number or tensor, zero counts in the network's input

    Returns
    -------
    (N, C, *spatial) tensor, expanded without a copy where the baseline is constant

    Raises
    ------
    ValueError
        If a name is unknown or shapes do not fit.
    """
    if isinstance(baselines, str):
        baselines = _named(baselines, x, black)
    elif callable(baselines):
        baselines = baselines(x)
    start = torch.as_tensor(baselines, dtype=x.dtype, device=x.device).detach()
    try:
        return start.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"baselines of shape {tuple(start.shape)} do not broadcast to the input's "
            f"{tuple(x.shape)}. Pass a number, or a tensor such as (1, channels, 1, 1)."
        ) from None


def single_channel_starts(start: Tensor, x: Tensor) -> Tensor:
    """Images (N, C, C, *spatial) of x (N, C, *spatial): in [:, s] channel s is at its baseline."""
    channels = x.shape[1]
    moved = torch.eye(channels, dtype=torch.bool, device=x.device)
    moved = moved.view(1, channels, channels, *[1] * (x.ndim - 2))
    return torch.where(moved, start.unsqueeze(1), x.unsqueeze(1))


def _named(name: str, x: Tensor, black: float | Tensor) -> float | Tensor:
    if name == "black":
        return black
    if name == "background":
        return border_level(x)
    if name == "blur":
        return blurred(x, _BLUR_SHARE * max(x.shape[2:]))
    raise ValueError(
        f"baselines={name!r} is unknown. Choose one of {', '.join(get_args(BaselineName))}, "
        "or pass a number, a tensor or a function."
    )


def border_level(x: Tensor) -> Tensor:
    """Median of each channel along the edges of its last two axes: (N, C, 1, ...)."""
    edges = [x[..., 0, :], x[..., -1, :], x[..., 1:-1, 0], x[..., 1:-1, -1]]
    level = torch.cat([edge.flatten(2) for edge in edges], 2).median(2).values
    return level.view(*x.shape[:2], *[1] * (x.ndim - 2))


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur along every spatial axis, edges repeated; sigma in pixels."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-((offsets / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    for axis in range(2, x.ndim):
        rows = x.movedim(axis, -1)
        lines = pad(rows.reshape(-1, 1, rows.shape[-1]), (reach, reach), mode="replicate")
        x = conv1d(lines, kernel).view(rows.shape).movedim(-1, axis)
    return x
