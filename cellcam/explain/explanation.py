"""The result of a call of `IntegratedGradCAM`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Explanation:
    """Importance maps of N images and K classes each, on the device of the images.

    Attributes
    ----------
    maps : (N, K, *spatial) tensor at input resolution
        Unnormalised, so that maps of different images and classes compare; >= 0 with
        ``formula="paper"``, signed with ``"complete"``. With ``channels="each"``
        (N, K, S, *spatial), for each of S input channels. float32, or float64 for float64 inputs.
    class_idx : (N, K) int64 tensor
    logits : (N, n_classes) tensor
    error : (N, K) tensor, or (N, K, S)
        Estimated relative L2 error of each map at layer resolution, of the quadrature alone.
    n_evaluations : (N,) int64 tensor
        Points of the paths that went through the network, baselines apart.
    weights_vary : (N, K) bool tensor, or (N, K, S)
        Whether the mean gradients change along the path. Where they do not, as for logits behind
        global pooling and a linear layer, the map is Grad-CAM of activations averaged along it.
    completeness_gap : (N, K) tensor, or (N, K, S)
        |line integral of the gradient - score difference| / |score difference|: how well the
        evaluations account for the score, whatever the formula.
    target_layer : name of the layer that was explained; several are joined by commas
    layout : how the layer's output was read, as ``"channels_first"`` or
        ``"tokens (14 x 14 and 1 without a place)"``
    output : what of the network's output was explained, as ``"logits"``
    channel_shares : (N, K, S) tensor with ``channels="each"``, else None
        Score of the image less its score with channel s at the baseline; may be negative.
    interaction : (N, K) tensor with ``channels="each"``, else None
        Score difference between image and baseline less the sum of the shares.
    layers : with several target layers, the explanation of each; else empty
    """

    maps: Tensor
    class_idx: Tensor
    logits: Tensor
    error: Tensor
    n_evaluations: Tensor
    weights_vary: Tensor
    completeness_gap: Tensor
    target_layer: str
    layout: str = ""
    output: str = ""
    channel_shares: Tensor | None = None
    interaction: Tensor | None = None
    layers: tuple[Explanation, ...] = ()

    @property
    def importance(self) -> Tensor:
        """Evidence for each class, >= 0: the positive part of the maps."""
        return self.maps.clamp(min=0)

    def to(self, device: torch.device) -> Explanation:
        """The same with its tensors on ``device``."""
        return replace(self, **{name: tensor.to(device) for name, tensor in _tensors(self)})  # type: ignore[arg-type]


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Explanation of the images of all parts."""
    by_name = zip(*map(_tensors, parts), strict=True)
    changes = {same[0][0]: torch.cat([tensor for _, tensor in same]) for same in by_name}
    return replace(parts[0], **changes)  # type: ignore[arg-type]


def by_channel(paths: Explanation, change: Tensor, whole_change: Tensor) -> Explanation:
    """Explanation of N images from that of N S ``paths`` on which one channel moves.

    Score differences: ``change`` (N S, K), and ``whole_change`` (N, K) where all channels move.
    """
    n_images = len(paths.logits)

    def split(values: Tensor) -> Tensor:
        return values.unflatten(0, (n_images, -1)).transpose(1, 2)

    shares = split(change)
    return replace(
        paths,
        maps=split(paths.maps),
        error=split(paths.error),
        weights_vary=split(paths.weights_vary),
        completeness_gap=split(paths.completeness_gap),
        # The image itself is the end of all its paths, and was evaluated once.
        n_evaluations=(paths.n_evaluations - 1).view(n_images, -1).sum(1) + 1,
        channel_shares=shares,
        interaction=whole_change - shares.sum(2),
    )


def fused(layers: Sequence[Explanation]) -> Explanation:
    """Mean of the maps of several layers; errors add up as if all pointed the same way."""
    maps = torch.stack([layer.maps for layer in layers]).mean(0)
    size = torch.stack([_norm(layer.maps, layer.error) for layer in layers])
    errors = torch.stack([layer.error for layer in layers])
    # A map that is zero everywhere has no relative error to add.
    total = torch.where(size > 0, errors * size, 0).mean(0)
    norm = _norm(maps, errors[0])
    return replace(
        layers[0],
        maps=maps,
        error=torch.where(total > 0, total / norm, 0),
        n_evaluations=torch.stack([layer.n_evaluations for layer in layers]).sum(0),
        weights_vary=torch.stack([layer.weights_vary for layer in layers]).any(0),
        completeness_gap=torch.stack([layer.completeness_gap for layer in layers]).amax(0),
        target_layer=", ".join(layer.target_layer for layer in layers),
        layout=", ".join(layer.layout for layer in layers),
        layers=tuple(layers),
    )


def _tensors(explanation: Explanation) -> list[tuple[str, Tensor]]:
    values = [(field.name, getattr(explanation, field.name)) for field in fields(explanation)]
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def _norm(maps: Tensor, like: Tensor) -> Tensor:
    return maps.flatten(like.ndim).norm(dim=-1)
