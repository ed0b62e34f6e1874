"""The compared methods: CellCam's, and its rivals from the libraries that are installed.

All give one map >= 0 at the resolution of the image, for the logit of one class. Rivals' maps are
taken before rescaling: pytorch-grad-cam subtracts each map's minimum, which would improve its
localisation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellcam.explain.baselines import Baseline, baseline_images
from cellcam.explain.explanation import Explanation
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.explain.network.splitting import left_as_it_was

Maps = Callable[[Tensor, Tensor], Tensor]

OWN = "Integrated Grad-CAM, CellCam's default"
ADAPTIVE, FIXED = "Integrated Grad-CAM, paper, 1 %", "Integrated Grad-CAM, paper, 20 steps"
_INTEGRATED_GRADIENTS_STEPS = 50  # captum's default for Integrated Gradients


@dataclass(frozen=True)
class Method:
    """One way to make maps.

    Attributes
    ----------
    name : in tables
    source : library that implements it
    maps : (images (N, C, *spatial), classes (N,)) -> (N, *spatial), >= 0
    """

    name: str
    source: str
    maps: Maps


def own_method(name: str, cam: IntegratedGradCAM, **settings: Any) -> Method:
    """Integrated Grad-CAM with these settings."""

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        explanation: Explanation = cam(x, classes, **settings)
        return explanation.importance[:, 0]

    return Method(name, "cellcam", maps)


def compared_methods(own: IntegratedGradCAM, layer: str, spatial_dims: int = 2) -> list[Method]:
    """CellCam's explanations, the paper's (to 1 %, and its sum) and the rivals that are installed.

    Grad-CAM and Grad-CAM++ are implemented here where their libraries are not installed.
    LayerCAM, which is made for early layers, is also taken at the layer of ``own``.

    Parameters
    ----------
    own : CellCam's explanation of a network, at one layer, given by its name; rivals get a copy
        of that network, because they leave hooks on it
    layer : name of the layer where Grad-CAM and its rivals are usually taken
    spatial_dims : 2 or 3; pytorch-grad-cam has Grad-CAM only in 3-D
    """
    network, black = own.nn_module, own.black
    cam = IntegratedGradCAM(network, layer, black=black)
    methods = [
        own_method(OWN, own),
        own_method(ADAPTIVE, cam),
        own_method(FIXED, cam, method="riemann_right", n_steps=20),
    ]
    copied = copy.deepcopy(network).eval()
    captum = find_spec("captum") is not None
    pytorch_grad_cam = find_spec("pytorch_grad_cam") is not None and spatial_dims == 2
    methods.append(
        _captum_grad_cam(copied, layer)
        if captum
        else Method("Grad-CAM", "cellcam", lambda x, k: _plain(network, layer, grad_cam, x, k))
    )
    if pytorch_grad_cam:
        kinds = [
            ("Grad-CAM++", "GradCAMPlusPlus", layer),
            ("LayerCAM", "LayerCAM", layer),
            ("Score-CAM", "ScoreCAM", layer),
        ]
        if own.target_layers != layer:
            early = str(own.target_layers)
            kinds.insert(2, (f"LayerCAM at {early}", "LayerCAM", early))
        methods += [_of_pytorch_grad_cam(name, kind, copied, at) for name, kind, at in kinds]
    else:
        methods.append(
            Method(
                "Grad-CAM++",
                "cellcam",
                lambda x, k: _plain(network, layer, grad_cam_plus_plus, x, k),
            )
        )
    if captum:
        methods.append(_integrated_gradients(copied, own.settings.baselines, black))
    return methods


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Selvaraju et al., "Grad-CAM", ICCV 2017, before ReLU: (N, K, *spatial) -> (N, *spatial)."""
    space = tuple(range(2, activations.ndim))
    return (gradients.mean(space, keepdim=True) * activations).sum(1)


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Chattopadhay et al., "Grad-CAM++", WACV 2018, before ReLU; shapes as in `grad_cam`.

    The second and third derivatives of exp(y) are powers of the first derivative of the logit y
    (equation 19).
    """
    space = tuple(range(2, activations.ndim))
    total = activations.sum(space, keepdim=True)
    # 1e-6 avoids 0 / 0, as in the libraries.
    alpha = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
    alpha = torch.where(gradients != 0, alpha, 0)
    weights = (alpha * gradients.relu()).sum(space, keepdim=True)
    return (weights * activations).sum(1)


def _plain(
    network: nn.Module,
    layer: str,
    formula: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    classes: Tensor,
) -> Tensor:
    with left_as_it_was(network), torch.enable_grad():
        kept: list[Tensor] = []
        hook = network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output: kept.append(output)
        )
        try:
            scores = network(x.clone().requires_grad_())
        finally:
            hook.remove()
        chosen = scores.gather(1, classes[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, kept[-1])
    return _upsampled(formula(kept[-1].detach(), gradients), x)


def _upsampled(maps: Tensor, x: Tensor) -> Tensor:
    """Positive part of maps (N, *coarse), at the resolution of the images."""
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    positive = maps.detach().relu().unsqueeze(1)
    return interpolate(positive, x.shape[2:], mode=mode, align_corners=False)[:, 0]


def _captum_grad_cam(network: nn.Module, layer: str) -> Method:
    from captum.attr import LayerGradCam

    cam = LayerGradCam(network, network.get_submodule(layer))

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        return _upsampled(cam.attribute(x, target=classes)[:, 0], x)

    return Method("Grad-CAM", "captum", maps)


def _integrated_gradients(network: nn.Module, baselines: Baseline, black: float | Tensor) -> Method:
    """The positive part of the sum over channels, from the baseline of CellCam's explanations."""
    from captum.attr import IntegratedGradients

    gradients = IntegratedGradients(network)

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        start = baseline_images(baselines, x, black)
        found = gradients.attribute(
            x,
            start,
            target=classes,
            n_steps=_INTEGRATED_GRADIENTS_STEPS,
            internal_batch_size=max(64, len(x)),
        )
        return found.detach().sum(1).clamp(min=0).to(x.dtype)

    return Method("Integrated Gradients", "captum", maps)


def _of_pytorch_grad_cam(name: str, kind: str, network: nn.Module, layer: str) -> Method:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Unscaled(getattr(pytorch_grad_cam, kind)):  # type: ignore[misc]
        """The same method without rescaling of its maps."""

        def compute_cam_per_layer(
            self, x: Tensor, targets: Sequence[ClassifierOutputTarget], smooth: bool
        ) -> NDArray[np.float32]:
            recorded = self.activations_and_grads
            gradients = recorded.gradients[0].numpy() if recorded.gradients else None
            layers = self.target_layers[0], targets, recorded.activations[0].numpy(), gradients
            cam: NDArray[np.float32] = self.get_cam_image(x, *layers, smooth)
            return cam

        def aggregate_multi_layers(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
            return maps

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        targets = [ClassifierOutputTarget(k) for k in classes.tolist()]
        with Unscaled(network, [network.get_submodule(layer)]) as cam, _silent():
            cam.batch_size = 64
            found = torch.as_tensor(cam(x, targets), dtype=x.dtype, device=x.device)
        return _upsampled(found, x)

    return Method(name, "pytorch-grad-cam", maps)


@contextmanager
def _silent() -> Iterator[None]:
    """Score-CAM draws a progress bar for every image."""
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()):
        yield
