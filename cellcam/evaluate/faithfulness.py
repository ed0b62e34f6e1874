"""Faithfulness: change of the class probability when pixels are hidden according to a map.

Hidden pixels move toward a baseline, by default the *raw* black image. Multiplying a normalised
image by a map would move it toward the mean of all images, which no camera takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Images of one pass of the network.
_TOGETHER = 256

Probability = Callable[[Tensor, Tensor], Tensor]


class Confidence(NamedTuple):
    """Change of the probability p of a class from image x to x_M; (N,) each.

    Attributes
    ----------
    drop : max(0, p(x) - p(x_M)) / p(x); Drop % is 100 times its mean, lower is better
    increase : 1 where p(x_M) > p(x), else 0; Increase % is 100 times its mean, higher is better
    """

    drop: Tensor
    increase: Tensor


class Areas(NamedTuple):
    """Areas under the probability of a class while pixels change; (N,) each.

    Attributes
    ----------
    insertion : pixels replace the baseline, the most important first; higher is better
    deletion : the baseline replaces pixels, the most important first; lower is better
    """

    insertion: Tensor
    deletion: Tensor


def class_probability(network: nn.Module) -> Probability:
    """Softmax probability (N,) of one class (N,) for each image (N, C, *spatial)."""

    @torch.no_grad()
    def probability(x: Tensor, classes: Tensor) -> Tensor:
        parts = [
            network(images).softmax(1).gather(1, explained[:, None])[:, 0]
            for images, explained in zip(x.split(_TOGETHER), classes.split(_TOGETHER), strict=True)
        ]
        return torch.cat(parts)

    return probability


def seen_through(
    x: Tensor, maps: Tensor, baseline: Tensor, top_share: float | None = None
) -> Tensor:
    """Images x_M = b + M / max(M) * (x - b) for a baseline b.

    Parameters
    ----------
    x : (N, C, *spatial) tensor
    maps : (N, *spatial) tensor, >= 0
    baseline : tensor that broadcasts to ``x``
    top_share : instead, keep this part of the pixels, the most important ones, and set all
        others to the baseline

    Returns
    -------
    (N, C, *spatial) tensor; the baseline itself where a map is zero everywhere
    """
    if top_share is None:
        scale = maps.flatten(1).amax(1).clamp(min=torch.finfo(maps.dtype).tiny)
        weight = maps / scale.view(-1, *[1] * (maps.ndim - 1))
    else:
        rank = _rank(maps)
        weight = (rank < round(top_share * rank[0].numel())).to(x)
    return torch.lerp(baseline.to(x).expand_as(x), x, weight.to(x).unsqueeze(1).expand_as(x))


def confidence_change(
    probability: Probability,
    x: Tensor,
    classes: Tensor,
    maps: Tensor,
    baseline: Tensor,
    top_share: float | None = None,
) -> Confidence:
    """Drop and increase of the class probability from x to x_M of `seen_through`.

    Chattopadhay et al., "Grad-CAM++", WACV 2018, section 4.1.1; papers and libraries differ in
    x_M.

    Parameters
    ----------
    probability : (images, classes) -> (N,), as `class_probability` makes it
    x : (N, C, *spatial) tensor
    classes : (N,) int64 tensor
    maps, baseline, top_share : as in `seen_through`
    """
    before = probability(x, classes).double()
    after = probability(seen_through(x, maps, baseline, top_share), classes).double()
    return Confidence((before - after).clamp(min=0) / before, (after > before).double())


def insertion_and_deletion(
    probability: Probability,
    x: Tensor,
    classes: Tensor,
    maps: Tensor,
    baseline: Tensor,
    n_steps: int = 20,
) -> Areas:
    """Areas under the class probability while pixels are inserted or deleted by importance.

    Petsiuk, Das, Saenko, "RISE", BMVC 2018; trapezoidal rule over the part of the pixels that
    has changed. Equal values of a map are taken in the order of the pixels.

    Parameters
    ----------
    probability, x, classes, maps, baseline : as in `confidence_change`
    n_steps : number of equal parts of the pixels
    """
    rank, baseline = _rank(maps), baseline.to(x).expand_as(x)
    n_pixels = rank[0].numel()
    counts = [round(n_pixels * step / n_steps) for step in range(n_steps + 1)]
    share = torch.tensor(counts, dtype=torch.float64, device=x.device) / n_pixels
    areas = [
        torch.trapezoid(torch.stack(list(curve), 1).double(), share, dim=1)
        for curve in (
            _curve(probability, x, baseline, classes, rank, counts),
            _curve(probability, baseline, x, classes, rank, counts),
        )
    ]
    return Areas(*areas)


def _curve(
    probability: Probability,
    new: Tensor,
    old: Tensor,
    classes: Tensor,
    rank: Tensor,
    counts: list[int],
) -> Iterator[Tensor]:
    """Probabilities (N,) with the most important pixels of ``new``, for each number of them."""
    for count in counts:
        yield probability(torch.where((rank < count).unsqueeze(1), new, old), classes)


def _rank(maps: Tensor) -> Tensor:
    """Rank of every pixel of a map, 0 for the largest value: (N, *spatial)."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return rank.view(maps.shape)
