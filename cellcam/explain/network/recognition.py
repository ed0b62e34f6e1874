"""Which layout a layer's output has, found by changing the image and looking what changes.

For each axis the image is changed by noise that grows along it, and by the same noise that
shrinks. Of the right layout, positions that lie further along the axis change more by the first
and less by the second. A layout is as good as the correlation of that contrast with the positions,
on the axis where it is worst.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cellcam.explain.network.layouts import (
    Layout,
    LayoutChoice,
    channels_first,
    layout_by_function,
    possible_layouts,
)
from cellcam.explain.network.probes import image_noise
from cellcam.explain.network.splitting import SplitNetwork

_CLEAR, _CLEARER, _MIRRORED = 0.5, 0.1, -0.95
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)


class Judged(NamedTuple):
    """A layout, and how well changes of the image agree with it; 1 is best."""

    layout: Layout
    agreement: float


def recognised(
    split: SplitNetwork,
    x: Tensor,
    output: Tensor,
    choice: LayoutChoice,
    seen: Iterable[torch.Size],
    convolved: set[torch.Size],
) -> SplitNetwork:
    """The network with the layout of its layer's output.

    Parameters
    ----------
    x : (1, C, *spatial) image
    output : of the layer, for this image
    choice : name of a layout, a function to (N, features, *space), or None to find it
    seen : shapes of all outputs of the pass
    convolved : shapes of outputs of convolutions and the like

    Raises
    ------
    ValueError
        If no layout agrees with what changes, or several do.
    """
    if callable(choice):
        return replace(split, layout=layout_by_function(choice, output, x.ndim))
    if choice is None and _needs_no_trial(split, output, x):
        return replace(split, layout=channels_first(output.shape))
    possible = possible_layouts(output.shape, x.shape, seen)
    possible = [layout for layout in possible if choice in (None, layout.name)]
    judged = _judged(split, x, output, possible)
    if choice is None or not judged:
        return replace(split, layout=_clearest(split, output, judged, convolved))
    return replace(split, layout=judged[0].layout)


def _needs_no_trial(split: SplitNetwork, output: Tensor, x: Tensor) -> bool:
    """Whether nothing need be tried: a convolution, or a single position."""
    if output.ndim != x.ndim or len(output) != 1:
        return False
    module = split.network.get_submodule(split.layer_name)
    return is_channels_first(module) or output.shape[2:].numel() == 1


def _judged(split: SplitNetwork, x: Tensor, output: Tensor, possible: list[Layout]) -> list[Judged]:
    """Layouts from the best to the worst."""
    if not possible:
        return []
    changes = _changes(split, x, output)
    judged = [Judged(layout, _agreement(layout, changes)) for layout in possible]
    return sorted(judged, key=lambda found: -found.agreement)


def _clearest(
    split: SplitNetwork, output: Tensor, judged: list[Judged], convolved: set[torch.Size]
) -> Layout:
    """The best layout if it is clearly so."""
    name, shape = split.layer_name, tuple(output.shape)
    if not judged:
        raise ValueError(
            f"Layer {name!r} returns shape {shape} for one image, which fits no layout of features "
            "at several places. Choose another layer, such as a convolutional one, or pass layout= "
            "as a function to (N, features, *space)."
        )
    best = judged[0]
    others = [found for found in judged[1:] if found.layout.space != best.layout.space]
    rival = others[0].agreement if others else 0.0
    if best.agreement >= _CLEAR and best.agreement - rival >= _CLEARER:
        return best.layout
    for found in judged:
        # Few positions of a deep network see all of the image: a convolution's shape decides.
        # Mirrored order cannot be told where no axis has more than two positions.
        is_straight = found.agreement > _MIRRORED or max(found.layout.space) <= 2
        is_first = found.layout.name == "channels_first"
        if is_first and is_straight and output.shape in convolved:
            return found.layout
    raise ValueError(
        f"Where the output of layer {name!r}, of shape {shape} for one image, lies in the image is "
        f"not clear: changes of the image move {best.layout} with a correlation of "
        f"{best.agreement:.2f} to their place only. Choose another layer, or say layout=, a name "
        "or a function to (N, features, *space)."
    )


def _changes(split: SplitNetwork, x: Tensor, output: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each axis, what noise that grows and noise that shrinks along it changes."""
    noise = image_noise(x)
    found = []
    for axis in range(2, x.ndim):
        length = x.shape[axis]
        ramp = (torch.arange(length, device=x.device, dtype=x.dtype) + 0.5) / length
        ramp = ramp.view(-1, *[1] * (x.ndim - 1 - axis))
        # One image at a time, as a network may depend on the number of images.
        grows, shrinks = (split.activations(x + noise * r) for r in (ramp, 1 - ramp))
        found.append((grows - output, shrinks - output))
    return found


def _agreement(layout: Layout, changes: list[tuple[Tensor, Tensor]]) -> float:
    """Correlation of contrasts with positions, on the worst axis; 0 where nothing changes."""
    worst = 1.0
    for axis, (grows, shrinks) in enumerate(changes):
        length = layout.space[axis]
        if length == 1:
            continue
        by_position = torch.stack([_size(layout, grows), _size(layout, shrinks)])
        total = by_position.sum(0)
        position = torch.linspace(-1, 1, length, device=total.device, dtype=total.dtype)
        position = position.view(-1, *[1] * (len(layout.space) - 1 - axis)).expand(layout.space)
        alive = total > 1e-6 * total.max()
        contrast = ((by_position[0] - by_position[1]) / total)[alive]
        worst = min(worst, _correlation(contrast, position.flatten()[alive]))
    return worst


def _size(layout: Layout, change: Tensor) -> Tensor:
    """Size of a change at each place: (positions,)."""
    return layout.arranged(change)[0, :, layout.n_others :].double().norm(dim=0)


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = a.norm() * b.norm()
    return float(a @ b / size) if a.numel() and size > 0 else 0.0


def is_channels_first(module: nn.Module) -> bool:
    """Whether a module returns (N, C, *space) by its nature."""
    return isinstance(module, _CHANNELS_FIRST)
