"""Does the network need what a map points at? Images are seen through their maps and judged again.

Every pixel moves toward a baseline, by default the *raw* black image: multiplying a normalised
image by a map would move it toward the mean of all images, which no camera takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Images that go through the network at once.
_TOGETHER = 256

Probability = Callable[[Tensor, Tensor], Tensor]


class Confidence(NamedTuple):
    """What becomes of the probability of a class; N images each.

    Attributes
    ----------
    drop : max(0, p(x) - p(x_M)) / p(x); Drop % is 100 times its mean, lower is better
    increase : 1 where p(x_M) > p(x), else 0; Increase % is 100 times its mean, higher is better
    """

    drop: Tensor
    increase: Tensor


class Areas(NamedTuple):
    """Areas under the probability of a class, (N,) each.

    Attributes
    ----------
    insertion : while the most important pixels are put into the baseline first; higher is better
    deletion : while they are taken away first; lower is better
    """

    insertion: Tensor
    deletion: Tensor


def class_probability(network: nn.Module) -> Probability:
    """Softmax probability (N,) of one class (N,) for each image (N, C, *spatial)."""

    @torch.no_grad()
    def probability(x: Tensor, classes: Tensor) -> Tensor:
        parts = [
            network(images).softmax(1).gather(1, own[:, None])[:, 0]
            for images, own in zip(x.split(_TOGETHER), classes.split(_TOGETHER), strict=True)
        ]
        return torch.cat(parts)

    return probability


def seen_through(
    x: Tensor, maps: Tensor, baseline: Tensor, top_share: float | None = None
) -> Tensor:
    """Images x_M with every pixel moved toward the baseline by 1 - M^, M^ = M / max M.

    Parameters
    ----------
    x : (N, C, *spatial) tensor
    maps : (N, *spatial) tensor, >= 0
    baseline : tensor that broadcasts to ``x``
    top_share : keep this part of the pixels, the most important ones, as they are and move all
        others to the baseline, instead of shading by the map

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
    """Drop and increase of the class's probability when the image is seen through its map.

    Chattopadhay et al., "Grad-CAM++", WACV 2018, section 4.1.1; see `seen_through` for what
    differs between papers and libraries.

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
    """Areas under the class's probability while pixels go in or out by importance.

    Petsiuk, Das, Saenko, "RISE", BMVC 2018; trapezoids over the part of the pixels that has
    changed. Equal values of a map are taken in the order of the pixels.

    Parameters
    ----------
    probability, x, classes, maps, baseline : as in `confidence_change`
    n_steps : in how many equal parts the pixels go
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
    """Probabilities (N,) after so many of the most important pixels are the new image's."""
    for count in counts:
        yield probability(torch.where((rank < count).unsqueeze(1), new, old), classes)


def _rank(maps: Tensor) -> Tensor:
    """Place of every pixel of a map, 0 for the largest value: (N, *spatial)."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return rank.view(maps.shape)
