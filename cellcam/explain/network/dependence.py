"""Whether the scores depend on a layer, on that layer alone, and in a way that has gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from cellcam.explain.network.probes import agree, changed_image, noise_like
from cellcam.explain.network.splitting import SplitNetwork

# GPUs round another batch in another way, by a thousandth and more in reduced types.
_SAME = 0.03
_EXACTLY = 1e-7


class Sample(NamedTuple):
    """An image (1, C, *spatial) and its scores (1, n_classes)."""

    x: Tensor
    scores: Tensor


def depends(split: SplitNetwork, sample: Sample, output: Tensor) -> bool:
    """Whether the scores of an image change with the values at the places of a layer's output."""
    size = output.abs().max()
    noise = noise_like(output) * (size if size > 0 else 1) * split.layout.is_place(output)
    return not _same(split, sample, output + noise, sample.x, output)


def passes_all(split: SplitNetwork, sample: Sample, output: Tensor) -> bool:
    """Whether nothing reaches the scores of an image past the layer."""
    return _same(split, sample, output, changed_image(sample.x), output)


def _same(split: SplitNetwork, sample: Sample, output: Tensor, x: Tensor, other: Tensor) -> bool:
    """Whether the head gives the same for two outputs, each with an image in the trunk."""
    # The same arithmetic each time, hence no rounding to allow for.
    return agree(split.head(sample.x, output), split.head(x, other), _EXACTLY)


def differentiable(split: SplitNetwork, sample: Sample, output: Tensor) -> SplitNetwork:
    """The network with gradients between the layer and the scores, also where it cuts them.

    Raises
    ------
    ValueError
        If the scores do not depend on the layer, or cannot be differentiated.
    """
    name = split.layer_name
    if not depends(split, sample, output):
        read = " with a place" if split.layout.n_others else ""
        raise ValueError(
            f"The scores do not depend on the values{read} of layer {name!r}, {split.layout}. "
            "Choose an earlier layer; target_layers=None finds the last one that they depend on."
        )
    for attempt in (split, replace(split, uncut=True)):
        if _has_gradients(attempt, sample.x):
            return attempt
    raise ValueError(
        f"The scores depend on layer {name!r}, but cannot be differentiated by it: something "
        "behind it has no gradients, such as a quantised layer or NumPy. Choose a later layer."
    )


def check_same_each_time(split: SplitNetwork, x: Tensor) -> None:
    """Raise `ValueError` if the scores of an image (1, C, *spatial) are others each time."""
    if not agree(_scores(split, x), _scores(split, x)):
        raise ValueError(
            "The network gives an image other scores each time, as with dropout that is active in "
            "evaluation. Make it deterministic: explanations compare passes."
        )


def mixes_images(split: SplitNetwork, x: Tensor) -> bool:
    """Whether the scores of an image (1, C, *spatial) depend on others in the batch."""
    # Much brighter, so that it shows in the statistics of a batch.
    other = 3 * changed_image(x)
    return not agree(_scores(split, torch.cat([x, other]))[:1], _scores(split, x), _SAME)


def check_batch_size(mixes: bool, internal_batch_size: int | None) -> None:
    """Raise `ValueError` if images that the network mixes would go through it together."""
    if mixes and internal_batch_size != 1:
        raise ValueError(
            "The network gives an image other scores when another image is in the batch, as batch "
            "normalisation without statistics does. Explain each image alone with "
            "internal_batch_size=1, or use running statistics."
        )


def _scores(split: SplitNetwork, x: Tensor) -> Tensor:
    return split.scores(x).scores.detach()


def _has_gradients(split: SplitNetwork, x: Tensor) -> bool:
    done = split.scores(x)
    if not done.scores.requires_grad:
        return False
    with torch.enable_grad():
        total = done.scores.sum()
    (gradient,) = torch.autograd.grad(total, done.leaf, allow_unused=True)
    return gradient is not None
