"""The formula of docs/method.md: one image, class and step at a time, with plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def integrated_gradcam(
    network: nn.Module,
    layer: str,
    x: Tensor,
    baseline: Tensor,
    class_idx: int,
    m: int,
    arranged: Callable[[Tensor], Tensor] = lambda output: output,
    scores: Callable[[Any], Tensor] = lambda returned: returned,
) -> Tensor:
    """Right Riemann sum of the paper for one image (1, C, *spatial): (*spatial).

    ``arranged`` makes (1, C, *space) of the layer's output, ``scores`` (1, n_classes) of the
    network's.
    """

    def activations_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
        found = _activations_and_gradient(network, layer, point, class_idx, scores)
        return arranged(found[0]), arranged(found[1])

    at_baseline, _ = activations_and_gradient(baseline)
    total = torch.zeros(())
    for t in range(1, m + 1):
        point = baseline + t / m * (x - baseline)
        activations, gradient = activations_and_gradient(point)
        space = tuple(range(2, gradient.ndim))
        weights = gradient.mean(space, keepdim=True)
        total = total + torch.relu((weights * (activations - at_baseline)).sum(1, keepdim=True))
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return interpolate(total / m, size=x.shape[2:], mode=mode, align_corners=False)[0, 0]


def _activations_and_gradient(
    network: nn.Module,
    layer: str,
    x: Tensor,
    class_idx: int,
    scores: Callable[[Any], Tensor] = lambda returned: returned,
) -> tuple[Tensor, Tensor]:
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        # A layer that runs again, on a single position, counts where it has several.
        if not kept or output.shape[2:].numel() != 1:
            kept.append(output)
        return output.clone()  # what follows may work in place

    handle = network.get_submodule(layer).register_forward_hook(keep)
    score = scores(network(x.clone().requires_grad_()))[:, class_idx].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    return kept[-1].detach(), gradient


def complete_difference(
    network: nn.Module, layer: str, start: Tensor, x: Tensor, pair: tuple[int, int], m: int
) -> Tensor:
    """Complete map at the layer of one class score less another, by the trapezoid rule.

    Parameters
    ----------
    start, x : (1, C, *spatial) float64

    Returns
    -------
    (*spatial of the layer) float64
    """
    network = deepcopy(network).double()
    t = torch.linspace(0, 1, m + 1, dtype=torch.float64).view(-1, *[1] * (x.ndim - 1))
    activations, gradients = [], []
    for points in (start + t * (x - start)).split(100):
        by_class = [_activations_and_gradient(network, layer, points, k) for k in pair]
        activations.append(by_class[0][0])
        gradients.append(by_class[0][1] - by_class[1][1])
    values, slopes = torch.cat(activations), torch.cat(gradients)
    return ((slopes[1:] + slopes[:-1]) / 2 * (values[1:] - values[:-1])).sum((0, 1))
