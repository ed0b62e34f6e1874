"""The compared methods: CellCam's, and its rivals from the libraries that are installed.

All give one map >= 0 at the resolution of the image, for the logit of one class.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from cellcam.evaluate.cams import (
    Arranged,
    arranged_features,
    captum_grad_cam,
    grad_cam,
    grad_cam_plus_plus,
    of_pytorch_grad_cam,
    plain_cam,
)
from cellcam.evaluate.input_maps import edge_filter, expected_gradients, integrated_gradients
from cellcam.evaluate.legrad import is_read_by_legrad, legrad
from cellcam.evaluate.method import Method
from cellcam.explain.explanation import Explanation
from cellcam.explain.integrated_gradcam import IntegratedGradCAM

OWN = "Integrated Grad-CAM, CellCam's default"
ADAPTIVE, FIXED = "Integrated Grad-CAM, paper, 1 %", "Integrated Grad-CAM, paper, 20 steps"

_NEEDED = {
    "captum": "Integrated Gradients",
    "pytorch_grad_cam": "LayerCAM and Score-CAM (2-D)",
    "torchcam": "LeGrad (torchvision's transformers)",
}


def own_method(name: str, cam: IntegratedGradCAM, **settings: Any) -> Method:
    """Integrated Grad-CAM with these settings."""

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        explanation: Explanation = cam(x, classes, **settings)
        return explanation.importance[:, 0]

    return Method(name, "cellcam", maps)


def compared_methods(own: IntegratedGradCAM, layer: str, images: Tensor) -> list[Method]:
    """CellCam's explanations, the paper's (to 1 %, and its sum), the rivals, and a control.

    Grad-CAM and Grad-CAM++ are implemented here where their libraries are not installed, Expected
    Gradients always. LayerCAM, which is made for early layers, is also taken at the layer of
    ``own``.

    Parameters
    ----------
    own : CellCam's explanation of a network, at one layer, given by its name; rivals get a copy
        of that network, because they leave hooks on it
    layer : name of the layer where Grad-CAM and its rivals are usually taken
    images : (N, C, *spatial) tensor, normalised, on the device of the network; the first shows how
        the layer is arranged, and all are the references of Expected Gradients
    """
    network, black = own.nn_module, own.black
    cam = IntegratedGradCAM(network, layer, black=black, layout=own.layout)
    copied = copy.deepcopy(network).eval()
    methods = [
        own_method(OWN, own),
        own_method(ADAPTIVE, cam),
        own_method(FIXED, cam, method="riemann_right", n_steps=20),
        *_cams(copied, layer, str(own.target_layers), images),
    ]
    if _is_installed("torchcam") and is_read_by_legrad(copied):
        methods.append(legrad(copied))
    if _is_installed("captum"):
        methods.append(integrated_gradients(copied, own.settings.baselines, black))
    return [*methods, expected_gradients(copied, images), edge_filter()]


def left_out() -> list[str]:
    """The rivals whose libraries are missing, each with the command that brings them."""
    return [
        f"Left out of the comparison: {what}. pip install 'cellcam[rivals]' brings them."
        for package, what in _NEEDED.items()
        if not _is_installed(package)
    ]


def _cams(network: nn.Module, layer: str, early: str, images: Tensor) -> list[Method]:
    """Grad-CAM and its relatives, as far as their libraries are installed."""
    arranged = arranged_features(network, layer, images)
    peer = _is_installed("pytorch_grad_cam") and images.ndim == 4
    methods = [_grad_cam(network, layer, arranged, peer)]
    if not peer:
        name = "Grad-CAM++"
        return [*methods, plain_cam(name, grad_cam_plus_plus, network, layer, arranged)]
    methods += [
        of_pytorch_grad_cam("Grad-CAM++", "GradCAMPlusPlus", network, layer, arranged),
        of_pytorch_grad_cam("LayerCAM", "LayerCAM", network, layer, arranged),
    ]
    if early != layer:
        at_early = arranged_features(network, early, images)
        name = f"LayerCAM at {early}"
        methods.append(of_pytorch_grad_cam(name, "LayerCAM", network, early, at_early))
    methods.append(of_pytorch_grad_cam("Score-CAM", "ScoreCAM", network, layer, arranged))
    return methods


def _grad_cam(network: nn.Module, layer: str, arranged: Arranged, peer: bool) -> Method:
    """Grad-CAM of captum, which knows no tokens, or of pytorch-grad-cam, or plain."""
    if arranged and peer:
        return of_pytorch_grad_cam("Grad-CAM", "GradCAM", network, layer, arranged)
    if not arranged and _is_installed("captum"):
        return captum_grad_cam(network, layer)
    return plain_cam("Grad-CAM", grad_cam, network, layer, arranged)


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
