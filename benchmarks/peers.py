"""Grad-CAM of several classes as captum, pytorch-grad-cam and MONAI compute it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Maps = Callable[[Tensor, int], object]


def peers(network: nn.Module, layer: str) -> dict[str, Maps]:
    """Functions (images, class) -> plain Grad-CAM, by library; those that are installed."""
    made = {}
    network = copy.deepcopy(network)  # their hooks stay on it
    for name, build in {
        "captum": _captum,
        "pytorch-grad-cam": _pytorch_grad_cam,
        "MONAI": _monai,
    }.items():
        try:
            made[name] = build(network, layer)
        except ImportError:
            print(f"  {name} is not installed")
    return made


def of_all(maps: Maps, parts: Sequence[Tensor], classes: Sequence[int]) -> None:
    """Maps of every class for every part of the images: a pass for each, as they have it."""
    for part in parts:
        for k in classes:
            maps(part, k)


def _captum(network: nn.Module, layer: str) -> Maps:
    from captum.attr import LayerGradCam

    cam = LayerGradCam(network, network.get_submodule(layer))
    return lambda x, k: cam.attribute(x, target=k, relu_attributions=True).detach()


def _pytorch_grad_cam(network: nn.Module, layer: str) -> Maps:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = GradCAM(network, [network.get_submodule(layer)])
    return lambda x, k: cam(x, [ClassifierOutputTarget(k)] * len(x))


def _monai(network: nn.Module, layer: str) -> Maps:
    from monai.visualize import GradCAM

    cam = GradCAM(network, layer)
    return lambda x, k: torch.as_tensor(cam(x, class_idx=k))
