"""Grad-CAM and its relatives: those of other libraries, and plain ones where these are missing.

Maps are taken before rescaling: pytorch-grad-cam subtracts each map's minimum, which would improve
its localisation.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellcam.evaluate.method import Method, upsampled
from cellcam.explain.network.splitting import left_as_it_was
from cellcam.explain.network.target import Target, split_network

# Output of a layer -> (N, features, *space); None where it is arranged like this already.
Arranged = Callable[[Tensor], Tensor] | None


def arranged_features(network: nn.Module, layer: str, images: Tensor) -> Arranged:
    """How features at places are read off the output of a layer, such as a transformer's tokens.

    What users of other libraries pass as ``reshape_transform``.

    Parameters
    ----------
    images : (N, C, *spatial) tensor; the first is run

    Raises
    ------
    ValueError
        If the layout is in doubt, see `IntegratedGradCAM`.
    """
    with left_as_it_was(network), torch.no_grad():
        layout = split_network(network, Target(layer), images).layout
    if layout.name == "channels_first":
        return None
    return lambda output: layout.arranged(output)[..., layout.n_others :].unflatten(2, layout.space)


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


def plain_cam(
    name: str,
    formula: Callable[[Tensor, Tensor], Tensor],
    network: nn.Module,
    layer: str,
    arranged: Arranged,
) -> Method:
    """A formula of activations and gradients (N, K, *space), which need no other library."""

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        activations, gradients = _activations_and_gradients(network, layer, x, classes)
        if arranged:
            activations, gradients = arranged(activations), arranged(gradients)
        return upsampled(formula(activations, gradients), x)

    return Method(name, "cellcam", maps)


def captum_grad_cam(network: nn.Module, layer: str) -> Method:
    """Grad-CAM at a layer (N, K, *space)."""
    from captum.attr import LayerGradCam

    cam = LayerGradCam(network, network.get_submodule(layer))

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        return upsampled(cam.attribute(x, target=classes)[:, 0], x)

    return Method("Grad-CAM", "captum", maps)


def of_pytorch_grad_cam(
    name: str, kind: str, network: nn.Module, layer: str, arranged: Arranged
) -> Method:
    """The class ``kind`` of pytorch-grad-cam, for images in 2-D."""
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
        layers = [network.get_submodule(layer)]
        with Unscaled(network, layers, reshape_transform=arranged) as cam, _silent():
            cam.batch_size = 64
            found = torch.as_tensor(cam(x, targets), dtype=x.dtype, device=x.device)
        return upsampled(found, x)

    return Method(name, "pytorch-grad-cam", maps)


def _activations_and_gradients(
    network: nn.Module, layer: str, x: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Output of the layer's last run, and gradient of the scores by it."""
    kept: list[Tensor] = []
    with left_as_it_was(network), torch.enable_grad():
        hook = network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output: kept.append(output)
        )
        try:
            scores = network(x.clone().requires_grad_())
        finally:
            hook.remove()
        chosen = scores.gather(1, classes[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, kept[-1])
    return kept[-1].detach(), gradients


@contextmanager
def _silent() -> Iterator[None]:
    """Score-CAM draws a progress bar for every image."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
