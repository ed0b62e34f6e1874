"""Integrated Grad-CAM.

Sattarzadeh, Sudhakar, Plataniotis, Jang, Jeong, Kim: "Integrated Grad-CAM: Sensitivity-Aware
Visual Explanation of Deep Convolutional Networks via Integrated Gradient-Based Scoring",
ICASSP 2021, doi 10.1109/ICASSP39728.2021.9415064.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellcam.explain.adaptive_steps import integrate_adaptively
from cellcam.explain.execution import is_out_of_memory
from cellcam.explain.explanation import Explanation, fused, joined
from cellcam.explain.fixed_steps import integrate_fixed
from cellcam.explain.integral import Integral
from cellcam.explain.knowledge import Known, fingerprint, found_out
from cellcam.explain.path import baseline_images, single_channel_starts
from cellcam.explain.quadrature import quadrature_rule
from cellcam.explain.scores import ClassIndex, class_idx_of, n_classes
from cellcam.explain.settings import Settings, changed
from cellcam.explain.splitting import left_as_it_was
from cellcam.explain.walking import Paths, Walker

Layer = str | nn.Module

# Shapes of input for which what was found out about a network is kept.
_MOST_KNOWN = 4


class IntegratedGradCAM:
    """Integrated Grad-CAM of a convolutional classifier, in 2-D or 3-D.

    For class c, with activations A_k at the target layer and x(a) = x' + a (x - x'),

        M_c = integral_0^1 ReLU( sum_k w_k(a) (A_k(x(a)) - A_k(x')) ) da,
        w_k(a) = mean over positions of  dy_c / dA_k  at x(a),

    to a relative error of 1 %, or as the given quadrature rule has it, and upsampled (bi- or
    trilinear) to the input. All classes share the passes through the network, of which only
    the part behind the target layer is differentiated.

    Parameters
    ----------
    nn_module : module, (N, C, *spatial) -> (N, n_classes) scores before softmax
        Left exactly as it was: modes, gradients, requires_grad, hooks, parameters. May be
        compiled, wrapped for several devices, frozen, or of reduced precision.
    target_layers : name of a submodule, the submodule, a list of these, or None
        None takes the last layer with spatial extent; `Explanation.target_layer` says which.
        The maps of several layers are averaged; `Explanation.layers` has each.
    black : number, or tensor that broadcasts to the input, default 0
        What zero counts become in the network's input; ``baselines="black"`` begins there.
    **settings
        Defaults for the keyword arguments of a call, kept as `settings`.

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
        target_layers: Layer | Sequence[Layer] | None = None,
        *,
        black: float | Tensor = 0.0,
        **settings: Any,
    ) -> None:
        self.nn_module = nn_module
        self.target_layers = target_layers
        self.black = black
        self.settings = changed(Settings(), settings)
        self._known: dict[object, Known] = {}

    def __call__(self, x: Tensor, class_idx: ClassIndex = None, **settings: Any) -> Explanation:
        """Explain the scores of a batch of images.

        Parameters
        ----------
        x : (N, C, *spatial) floating tensor
            May lie on another device than the network: it is moved part by part.
        class_idx : which classes to explain for each image
            None (the class with the highest score), an int, an (N,) or (N, K) tensor with
            classes image by image, a list (these classes for every image) or ``"all"``.
        baselines : where the path begins, default ``"black"``
            Number, tensor, function or name, in the space of the network's input; see
            `cellcam.explain.path.baseline_images`.
        rtol : relative L2 error to reach for each map, default 0.01
            Takes as many evaluations as needed; `Explanation.error` says what was reached.
        rtol_of : ``"map"`` (default) or ``"strongest"``
            What ``rtol`` is a share of: each map, or the strongest of an image's maps, beside
            which fainter ones need not be as exact. Several classes then cost about what one
            does. `Explanation.error` is relative to each map all the same.
        method, n_steps : a fixed quadrature rule instead
            ``method="riemann_right"``, the default with ``n_steps``, is the sum of the paper;
            see `quadrature_rule` for the others.
        score : ``"logit"`` (default), ``"probability"`` or ``"log_probability"``
            What is explained.
        formula : ``"paper"`` (default) or ``"complete"``
            The complete map, sum_k integral dy_c/dA_k dA_k position by position, is signed
            and adds up, at layer resolution, to the score difference.
        channels : None (default) or ``"each"``
            One map per input channel, along the path on which only that channel moves, and
            the share of the score of each.
        precision : ``"float32"`` (default) or ``"auto"``
            Automatic: bfloat16 and another memory layout where a trial finds them faster;
            maps then change by what rounding does to the network.
        internal_batch_size : how many images go through the network at once
            Default: what suits the device; halved when memory runs out.
        upsample : False leaves the maps at the resolution of the layer
        progress : function, called before each pass with (images done, images in all)
            What it raises ends the call and leaves the network as it was.

        Raises
        ------
        ValueError
            If the input, a class, the layer or a setting does not fit.
        TypeError
            If a setting does not exist.
        """
        run = changed(self.settings, settings)
        _check_images(x)
        _check_class_idx(class_idx, len(x))
        several = isinstance(self.target_layers, list | tuple)
        layers: Sequence[Any] = self.target_layers if several else [self.target_layers]  # type: ignore[assignment]
        with left_as_it_was(self.nn_module), torch.no_grad():
            x = x.detach().clone() if x.is_inference() else x.detach()
            start = baseline_images(run.baselines, x, self.black)
            parts = [self._explained(layer, x, start, class_idx, run) for layer in layers]
        return fused(parts) if several else parts[0]

    def _explained(
        self, layer: Layer | None, x: Tensor, start: Tensor, class_idx: ClassIndex, run: Settings
    ) -> Explanation:
        """Explanation at one layer, a batch of images at a time."""
        known = self._known_about(layer, x, run)
        batch = run.internal_batch_size or known.batch_for(n_classes(class_idx))
        n_paths = x.shape[1] if run.channels else 1
        parts: list[Explanation] = []
        done = 0

        def tick() -> None:
            if run.progress:
                run.progress(done, len(x))

        while done < len(x):
            remembered = known.remembered.setdefault(run.formula, {})
            walker = Walker(
                known.split, known.head, run.score, batch, tick, remembered, run.formula == "paper"
            )
            rows = slice(done, done + max(1, batch // n_paths))
            own_start = _moved(start[rows], known.split.device)
            own_x = _moved(x[rows], known.split.device)
            try:
                part = _explain_batch(walker, own_start, own_x, class_idx_of(class_idx, rows), run)
            except RuntimeError as error:
                if batch == 1 or not is_out_of_memory(error):
                    raise
                batch //= 2
            else:
                parts.append(part.to(x.device))
                done = min(rows.stop, len(x))
        return joined(parts)

    def _known_about(self, layer: Layer | None, x: Tensor, run: Settings) -> Known:
        """What running the network once shows about it; kept as long as its weights stay."""
        key = (layer, x.shape[1:], x.dtype, run.precision)
        weights = fingerprint(self.nn_module)
        known = self._known.get(key)
        if known is None or known.weights != weights:
            while len(self._known) >= _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            trial = run.internal_batch_size
            known = self._known[key] = found_out(self.nn_module, layer, x, run.precision, trial)
        return known


def _explain_batch(
    walker: Walker, start: Tensor, x: Tensor, class_idx: ClassIndex, run: Settings
) -> Explanation:
    """Explanation of as many images as go through the network at once."""
    at_input = walker.at_input(x, class_idx)
    at_baseline = walker.at_baseline(start, at_input.classes)
    paths = Paths(start, x, at_baseline, at_input)
    if run.channels:
        paths = _single_channel_paths(walker, paths)
    parts = paths.parts(walker.batch)
    integral = Integral.joined([_integrated(walker, part, run) for part in parts])
    difference = paths.at_end.score - paths.at_start.score
    by_path: dict[str, Any] = {
        "maps": _as_images(integral.maps, walker.split.map_shape, x, run.upsample),
        "error": integral.error,
        "weights_vary": integral.weights_vary,
        "completeness_gap": _relative_gap(integral.line, difference),
    }
    evaluations = integral.n_evaluations
    shares: dict[str, Any] = {}
    if run.channels:
        by_path = {
            name: value.unflatten(0, (len(x), -1)).transpose(1, 2)
            for name, value in by_path.items()
        }
        # The image itself is the end of all its paths, and was evaluated once.
        evaluations = (evaluations - 1).view(len(x), -1).sum(1) + 1
        share = difference.unflatten(0, (len(x), -1)).transpose(1, 2)
        total = at_input.score - at_baseline.score
        shares = {"channel_shares": share, "interaction": total - share.sum(2)}
    return Explanation(
        class_idx=at_input.classes,
        logits=at_input.logits,
        n_evaluations=evaluations,
        target_layer=walker.split.layer_name,
        **by_path,
        **shares,
    )


def _single_channel_paths(walker: Walker, paths: Paths) -> Paths:
    """For each image and channel the path on which that channel alone moves."""
    starts = single_channel_starts(paths.start, paths.end)
    own = torch.arange(len(paths), device=starts.device).repeat_interleave(starts.shape[1])
    starts = starts.flatten(0, 1)
    at_end = paths.at_end.of(own)
    return Paths(starts, paths.end[own], walker.at_baseline(starts, at_end.classes), at_end)


def _integrated(walker: Walker, paths: Paths, run: Settings) -> Integral:
    if run.tolerance is not None:
        return integrate_adaptively(walker, paths, run.tolerance, run.formula)
    return integrate_fixed(walker, paths, quadrature_rule(*run.fixed_rule), run.formula)


def _as_images(maps: Tensor, shape: torch.Size, x: Tensor, upsample: bool) -> Tensor:
    """Maps (P, K, U) as (P, K, *spatial), at the resolution of the layer or of the images."""
    maps = maps.unflatten(2, shape)
    if not upsample:
        return maps
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return interpolate(maps, size=tuple(x.shape[2:]), mode=mode, align_corners=False)


def _relative_gap(line: Tensor, difference: Tensor) -> Tensor:
    gap = (line - difference).abs()
    return torch.where(gap == 0, 0, gap / difference.abs())


def _moved(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device; one that is the same for all is moved once."""
    if images.device == device:
        return images
    if images.stride(0) == 0:
        return images[:1].to(device).expand_as(images)
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=True)


def _check_images(x: Tensor) -> None:
    if x.ndim not in (4, 5) or not x.is_floating_point():
        raise ValueError(
            f"x must be a floating tensor (N, C, Y, X) or (N, C, Z, Y, X), "
            f"not {x.dtype} of shape {tuple(x.shape)}."
        )
    if not len(x):
        raise ValueError("x holds no image.")


def _check_class_idx(class_idx: ClassIndex, n_images: int) -> None:
    if isinstance(class_idx, Tensor) and class_idx.ndim and len(class_idx) != n_images:
        raise ValueError(
            f"class_idx of shape {tuple(class_idx.shape)} does not fit {n_images} images: "
            "a tensor gives classes image by image, (N,) or (N, K)."
        )
