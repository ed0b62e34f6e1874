"""Integrated Grad-CAM.

Sattarzadeh, Sudhakar, Plataniotis, Jang, Jeong, Kim: "Integrated Grad-CAM: Sensitivity-Aware
Visual Explanation of Deep Convolutional Networks via Integrated Gradient-Based Scoring",
ICASSP 2021, doi 10.1109/ICASSP39728.2021.9415064.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellcam.explain.baselines import baseline_images
from cellcam.explain.explanation import Explanation, by_channel, fused, joined
from cellcam.explain.integration.adaptive_steps import integrate_adaptively, paths_at_once
from cellcam.explain.integration.fixed_steps import integrate_fixed
from cellcam.explain.integration.integral import Integral, relative
from cellcam.explain.memory import Batches, slices
from cellcam.explain.network.dependence import check_batch_size
from cellcam.explain.network.execution import repeatable
from cellcam.explain.network.facts import NetworkFacts, find_facts, fingerprint
from cellcam.explain.network.layouts import LayoutChoice
from cellcam.explain.network.outputs import OutputChoice, check_region
from cellcam.explain.network.path_points import PathEvaluator
from cellcam.explain.network.splitting import left_as_it_was
from cellcam.explain.network.target import Layer, Target
from cellcam.explain.scores import ClassIndex, check_class_idx, class_idx_of, n_classes
from cellcam.explain.settings import SettingOptions, Settings

_MOST_FACTS = 4  # that are kept, by input shape, layer and precision


class IntegratedGradCAM:
    """Integrated Grad-CAM of a classifier, in 2-D or 3-D: convolutional, or a transformer.

    For class c, with activations A_k at the target layer and x(a) = x' + a (x - x'),

        M_c = integral_0^1 ReLU( sum_k w_k(a) (A_k(x(a)) - A_k(x')) ) da,
        w_k(a) = mean over positions of  dy_c / dA_k  at x(a),

    to a relative error of 1 %, or by a fixed quadrature rule, and upsampled (bi- or trilinear).

    Parameters
    ----------
    nn_module : module, (N, C, *spatial) -> (N, n_classes) scores before softmax
        Left as it was. May be compiled, wrapped for several devices, frozen, of low precision.
        May return several tensors, a single logit, probabilities, or maps of scores; see
        ``output`` and ``region``.
    target_layers : name of a submodule, the submodule, a list of these, or None
        None takes the last layer with space that the scores depend on and that nothing bypasses;
        `Explanation.target_layer` says which.
        The maps of several layers are averaged; `Explanation.layers` has each.
    black : number, or tensor that broadcasts to the input, default 0
        Zero counts in the network's input; the baseline ``"black"``.
    layout : how the layer's output is arranged, by default found by changing the image
        ``"channels_first"``, ``"channels_last"``, ``"tokens"`` (N, T, C), ``"tokens_last"``
        (N, C, T), ``"tokens_first"`` (T, N, C), or a function from the layer's output to
        (N, features, *space) that chooses and rearranges values. `Explanation.layout` says which.
    output : which of several outputs are the scores, by default the only one that can be
        Number or name of an item, or a function from what the network returns to
        (N, n_classes). A single logit z is class 1, and -z class 0. Logits in front of a softmax
        or sigmoid that ends the network are explained, not the probabilities.
    **settings
        Defaults for the keyword arguments of a call, kept as `settings`.

    Examples
    --------
    >>> import torch, torchvision
    >>> network = torchvision.models.resnet18(num_classes=2)
    >>> IntegratedGradCAM(network)(torch.rand(3, 3, 64, 64), class_idx="all").maps.shape
    torch.Size([3, 2, 64, 64])
    """

    def __init__(
        self,
        nn_module: nn.Module,
        target_layers: Layer | list[Layer] | tuple[Layer, ...] | None = None,
        *,
        black: float | Tensor = 0.0,
        layout: LayoutChoice = None,
        output: OutputChoice = None,
        **settings: Unpack[SettingOptions],
    ) -> None:
        self.nn_module = nn_module
        self.target_layers = target_layers
        self.black = black
        self.layout, self.output = layout, output
        self.settings = Settings().changed(**settings)
        self._facts: dict[object, NetworkFacts] = {}

    def __call__(
        self, x: Tensor, class_idx: ClassIndex = None, **settings: Unpack[SettingOptions]
    ) -> Explanation:
        """Explain the scores of a batch of images.

        Parameters
        ----------
        x : (N, C, *spatial) floating tensor, on any device; it is moved part by part
        class_idx : None (the class with the highest score), an int, a list or ``"all"`` for every
            image, or an (N,) or (N, K) tensor with classes image by image
        baselines : where the path begins, default ``"black"``; see `baseline_images`
        rtol : relative L2 error to reach for each map, default 0.01; see `Explanation.error`
        rtol_of : ``"map"`` (default) or ``"strongest"``
            Relative to each map, or to the strongest map of the image: then several classes cost
            about as much as a single one.
        error_factor : estimated errors are multiplied by this, default 1
            What was measured on images of the same kind, see `ModelSpec`.
        method, n_steps : a fixed quadrature rule instead, see `quadrature_rule`
            ``"riemann_right"``, the default with ``n_steps``, is the sum of the paper.
        score : ``"logit"`` (default), ``"probability"`` or ``"log_probability"``
        formula : ``"paper"`` (default) or ``"complete"``
            The complete map, sum_k integral dy_c/dA_k dA_k at each position, is signed and adds up
            to the score difference at the layer's resolution.
        channels : ``"each"`` for a map of each input channel, on whose path it moves alone
        region : (*space) or (N, *space) mask, where the network returns maps of scores
            Their mean over the region is explained; by default over all positions.
        precision : ``"float32"`` (default), or ``"auto"``: bfloat16 where a trial finds it faster
        internal_batch_size : images at once; default by free memory, halved when it runs out
        upsample : False leaves the maps at the resolution of the layer
        progress : called before each pass with (images done, images in all); may raise to cancel

        Raises
        ------
        ValueError, TypeError
            If the input, a class, the layer or a setting does not fit; if a setting is unknown. If
            the layout or the scores are in doubt, the scores do not depend on the layer, or are
            others each time or in another batch.
        """
        run = self.settings.changed(**settings)
        _check_images(x)
        check_class_idx(class_idx, len(x))
        check_region(run.region, x)
        target = self.target_layers
        with left_as_it_was(self.nn_module), repeatable(), torch.no_grad():
            x = x.detach().clone() if x.is_inference() else x.detach()
            start = baseline_images(run.baselines, x, self.black)
            layers = list(target) if isinstance(target, list | tuple) else [target]
            parts = []
            for layer in layers:
                parts.append(self._explain_at(layer, x, start, class_idx, run))
        return fused(parts) if isinstance(target, list | tuple) else parts[0]

    def _explain_at(
        self, layer: Layer | None, x: Tensor, start: Tensor, class_idx: ClassIndex, run: Settings
    ) -> Explanation:
        """Explanation at one layer, a batch of images at a time."""
        if run.region is not None and run.region.ndim == x.ndim - 1:
            parts = []
            for i, region in enumerate(run.region):
                one, alone = slice(i, i + 1), replace(run, region=region)
                classes = class_idx_of(class_idx, one)
                parts.append(self._explain_at(layer, x[one], start[one], classes, alone))
            return joined(parts)
        facts = self._facts_about(layer, x, run)
        check_batch_size(facts.mixes, run.internal_batch_size)
        batches = Batches(run.internal_batch_size or facts.batch_size_for(n_classes(class_idx)))
        n_paths = x.shape[1] if run.channels else 1
        done: list[Explanation] = []
        for rows in batches.over(len(x), n_paths):
            tick = partial(run.progress or _no_progress, rows.start, len(x))
            with batches.fits():
                evaluator = PathEvaluator(facts, run.score, batches.size, tick)
                images = _moved(x[rows], facts.split.device)
                baselines = _moved(start[rows], facts.split.device)
                classes = class_idx_of(class_idx, rows)
                part = _explain_batch(evaluator, baselines, images, classes, run)
                done.append(part.to(x.device))
        return joined(done)

    def _facts_about(self, layer: Layer | None, x: Tensor, run: Settings) -> NetworkFacts:
        """Facts about the network; kept as long as its weights stay the same."""
        target = Target(layer, self.layout, self.output, run.region)
        # A region is known by its identity, as it is kept beside the facts.
        region = (run.region, None if run.region is None else run.region._version)
        key = (layer, x.shape[1:], x.dtype, run.precision, region)
        facts = self._facts.get(key)
        if facts is None or facts.weights != fingerprint(self.nn_module):
            while len(self._facts) >= _MOST_FACTS:
                self._facts.pop(next(iter(self._facts)))
            facts = find_facts(self.nn_module, target, x, run.precision, run.internal_batch_size)
            self._facts[key] = facts
        return facts


def _explain_batch(
    evaluator: PathEvaluator, start: Tensor, x: Tensor, class_idx: ClassIndex, run: Settings
) -> Explanation:
    """Explanation of as many images as go through the network at once."""
    images = paths = evaluator.paths(start, x, class_idx)
    if run.channels:
        paths = evaluator.single_channel_paths(images)
    integrals = []
    for rows in slices(paths.n, paths_at_once(evaluator, paths, run.formula)):
        some = paths.of(rows)
        if run.tolerance is None:
            integrals.append(integrate_fixed(evaluator, some, run.rule, run.formula))
        else:
            integrals.append(integrate_adaptively(evaluator, some, run.tolerance, run.formula))
    integral = Integral(*map(torch.cat, zip(*integrals, strict=True)))
    difference, split = paths.scores - paths.start_scores, evaluator.facts.split
    found = Explanation(
        maps=_as_images(integral.maps, split.layout.space, x, run.upsample),
        class_idx=images.classes,
        logits=images.logits,
        error=integral.error,
        n_evaluations=integral.n_evaluations,
        weights_vary=integral.weights_vary,
        completeness_gap=relative((integral.line - difference).abs(), difference.abs()),
        target_layer=split.layer_name,
        layout=str(split.layout),
        output=split.output.description,
    )
    if run.channels:
        found = by_channel(found, difference, images.scores - images.start_scores)
    return found


def _no_progress(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def _as_images(maps: Tensor, shape: torch.Size, x: Tensor, upsample: bool) -> Tensor:
    """Maps (P, K, U) as (P, K, *spatial), at the resolution of the layer or of the images."""
    maps, mode = maps.unflatten(2, shape), "trilinear" if len(shape) == 3 else "bilinear"
    size = tuple(x.shape[2:])
    return interpolate(maps, size=size, mode=mode, align_corners=False) if upsample else maps


def _moved(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device; an image that is the same for all is moved once."""
    if images.stride(0) == 0:
        return images[:1].to(device).expand_as(images)
    # Blocking: a copy from a GPU that is not waited for is read here before it has arrived.
    return images.to(device)


def _check_images(x: Tensor) -> None:
    if x.ndim not in (4, 5) or not x.is_floating_point():
        found = f"{x.dtype} of shape {tuple(x.shape)}"
        raise ValueError(f"x must be floating, (N, C, Y, X) or (N, C, Z, Y, X), not {found}.")
    if not len(x):
        raise ValueError("x holds no image.")
