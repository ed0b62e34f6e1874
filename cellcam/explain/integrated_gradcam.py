"""Integrated Grad-CAM.

Sattarzadeh, Sudhakar, Plataniotis, Jang, Jeong, Kim: "Integrated Grad-CAM: Sensitivity-Aware
Visual Explanation of Deep Convolutional Networks via Integrated Gradient-Based Scoring",
ICASSP 2021, doi 10.1109/ICASSP39728.2021.9415064.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellcam.explain.path import Baseline, baseline_images, points_on_path
from cellcam.explain.quadrature import Method, Rule, quadrature_rule
from cellcam.explain.splitting import SplitNetwork, left_as_it_was

ClassIndex = int | Sequence[int] | Tensor | Literal["all"] | None

# 64 crops of 64 x 64 or 5 images of 224 x 224 keep two cores busy without page faults.
_PIXELS_PER_BATCH = 2**18


@dataclass(frozen=True)
class Explanation:
    """Importance maps of N images and K classes each.

    Attributes
    ----------
    maps : (N, K, *spatial) tensor, >= 0, at input resolution
        Unnormalised: maps of different images and classes compare. float32, or float64 for
        float64 inputs.
    class_idx : (N, K) int64 tensor
    logits : (N, n_classes) tensor
    target_layer : name of the layer that was explained
    """

    maps: Tensor
    class_idx: Tensor
    logits: Tensor
    target_layer: str


@dataclass(frozen=True)
class _Settings:
    baselines: Baseline = 0.0
    method: Method = "riemann_right"
    n_steps: int = 20
    internal_batch_size: int | None = None


class IntegratedGradCAM:
    """Integrated Grad-CAM of a convolutional classifier, in 2-D or 3-D.

    For class c, with activations A_k at the target layer and x(a) = x' + a (x - x'),

        M_c = integral_0^1 ReLU( sum_k w_k(a) (A_k(x(a)) - A_k(x')) ) da,
        w_k(a) = mean over positions of  dy_c / dA_k  at x(a),

    evaluated with a quadrature rule and upsampled (bi- or trilinear) to the input.

    Parameters
    ----------
    nn_module : module, (N, C, *spatial) -> (N, n_classes) scores before softmax
        Left exactly as it was: modes, gradients, requires_grad, hooks, parameters.
    target_layers : name of a submodule, the submodule, or None
        None takes the last layer with spatial extent; `Explanation.target_layer` says which.
    **settings
        Defaults for the keyword arguments of a call.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(),
    ...     torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> IntegratedGradCAM(network)(torch.rand(3, 1, 8, 8), class_idx="all").maps.shape
    torch.Size([3, 2, 8, 8])
    """

    def __init__(
        self,
        nn_module: nn.Module,
        target_layers: str | nn.Module | None = None,
        **settings: Any,
    ) -> None:
        self.nn_module = nn_module
        self.target_layers = target_layers
        self._settings = _updated(_Settings(), settings)

    def __call__(self, x: Tensor, class_idx: ClassIndex = None, **settings: Any) -> Explanation:
        """Explain the scores of a batch of images.

        Parameters
        ----------
        x : (N, C, *spatial) floating tensor on the network's device
        class_idx : which classes to explain for each image
            None (the class with the highest score), an int, an (N,) or (N, K) tensor with
            classes image by image, a list (these classes for every image) or ``"all"``.
        baselines : number or tensor that broadcasts to ``x``, default 0
            Where the path begins, in the space of the network's input.
        method, n_steps : the quadrature rule, default ``"riemann_right"`` with 20 steps
            The sum of the paper; see `quadrature_rule` for the others.
        internal_batch_size : int, optional
            How many points of how many images go through the network at once.

        Raises
        ------
        ValueError
            If the input, a class, the layer or a setting does not fit.
        TypeError
            If a setting does not exist.
        """
        run = _updated(self._settings, settings)
        _check_images(x)
        with left_as_it_was(self.nn_module):
            x = x.detach().clone() if x.is_inference() else x.detach()
            start = baseline_images(run.baselines, x)
            rule = quadrature_rule(run.method, run.n_steps)
            batch = run.internal_batch_size or max(1, _PIXELS_PER_BATCH // x[0, 0].numel())
            split = SplitNetwork(self.nn_module, self.target_layers, x)
            logits = torch.cat([split.logits(part) for part in torch.split(x, batch)])
            classes = select_classes(class_idx, logits)
            parts = zip(*(torch.split(one, batch) for one in (start, x, classes)), strict=True)
            maps = torch.cat([_integrate(split, rule, batch, *part) for part in parts])
        return Explanation(maps, classes, logits, split.layer_name)


def _integrate(
    split: SplitNetwork, rule: Rule, batch: int, start: Tensor, x: Tensor, classes: Tensor
) -> Tensor:
    """Maps (n, K, *spatial) of n images, ``batch`` points of their paths at a time."""
    at_start = split.activations(start)
    maps = at_start.new_zeros((*classes.shape, *at_start.shape[2:]))
    work = list(product(range(len(x)), zip(rule.nodes, rule.weights, strict=True)))
    for chunk in (work[i : i + batch] for i in range(0, len(work), batch)):
        image = torch.tensor([i for i, _ in chunk], device=x.device)
        position = torch.tensor([node for _, (node, _) in chunk], dtype=x.dtype, device=x.device)
        weight = torch.tensor([w for _, (_, w) in chunk], dtype=maps.dtype, device=x.device)
        points = points_on_path(start[image], x[image], position)
        terms = _integrand(split, points, at_start[image], classes[image])
        maps.index_add_(0, image, terms * weight.view(-1, *[1] * (terms.ndim - 1)))
    return _upsampled(maps, x.shape[2:])


def _integrand(split: SplitNetwork, points: Tensor, at_start: Tensor, classes: Tensor) -> Tensor:
    """ReLU( sum_k w_k Delta_k ) for each point and class: (n, K, *layer_spatial)."""
    activations, scores = split.scores(points)
    increment = activations.detach() - at_start
    space = tuple(range(2, activations.ndim))
    terms = []
    for k in range(classes.shape[1]):
        score = scores.gather(1, classes[:, k : k + 1]).sum()
        last = k == classes.shape[1] - 1
        (gradient,) = torch.autograd.grad(score, activations, retain_graph=not last)
        weight = gradient.mean(space, keepdim=True)
        terms.append((weight * increment).sum(1).relu())
    return torch.stack(terms, 1)


def select_classes(class_idx: ClassIndex, logits: Tensor) -> Tensor:
    """Classes to explain for each image, as an (N, K) int64 tensor.

    Parameters
    ----------
    class_idx : as in `IntegratedGradCAM.__call__`
    logits : (N, n_classes) tensor

    Raises
    ------
    ValueError
        If a class does not exist or the shape does not fit the images.
    """
    n_images, n_classes = logits.shape
    if class_idx is None:
        return logits.argmax(1, keepdim=True)
    if isinstance(class_idx, str):
        if class_idx != "all":
            raise ValueError(f"class_idx={class_idx!r} is unknown; the only word is 'all'.")
        class_idx = range(n_classes)
    by_image = isinstance(class_idx, Tensor) and class_idx.ndim > 0
    classes = torch.as_tensor(class_idx, device=logits.device).to(torch.int64)
    if by_image:
        if len(classes) != n_images or classes.ndim > 2:
            raise ValueError(
                f"class_idx of shape {tuple(classes.shape)} does not fit {n_images} images: "
                "a tensor gives classes image by image, (N,) or (N, K)."
            )
        classes = classes.view(n_images, -1)
    else:
        classes = classes.reshape(1, -1).expand(n_images, -1)
    if classes.numel() == 0 or classes.min() < 0 or classes.max() >= n_classes:
        raise ValueError(f"class_idx must lie between 0 and {n_classes - 1}; got {class_idx!r}.")
    return classes


def _upsampled(maps: Tensor, size: torch.Size) -> Tensor:
    mode = "trilinear" if len(size) == 3 else "bilinear"
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return interpolate(maps, size=tuple(size), mode=mode, align_corners=False)


def _check_images(x: Tensor) -> None:
    if x.ndim not in (4, 5) or not x.is_floating_point():
        raise ValueError(
            f"x must be a floating tensor (N, C, Y, X) or (N, C, Z, Y, X), "
            f"not {x.dtype} of shape {tuple(x.shape)}."
        )
    if not len(x):
        raise ValueError("x holds no image.")


def _updated(settings: _Settings, changes: dict[str, Any]) -> _Settings:
    unknown = set(changes) - set(_Settings.__dataclass_fields__)
    if unknown:
        known = ", ".join(_Settings.__dataclass_fields__)
        raise TypeError(f"Unknown setting {', '.join(sorted(unknown))}. Known: {known}.")
    return replace(settings, **changes)
