from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cellcam.evaluate import rivals
from cellcam.evaluate.method import Method
from cellcam.evaluate.rivals import compared_methods, left_out
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.models.registry import build_network

NAMES = {
    "Integrated Grad-CAM, CellCam's default",
    "Integrated Grad-CAM, paper, 1 %",
    "Integrated Grad-CAM, paper, 20 steps",
    "Grad-CAM",
    "Grad-CAM++",
    "LayerCAM",
    "LayerCAM at features.1",
    "Score-CAM",
    "Integrated Gradients",
    "Expected Gradients",
    "edge filter",
}


@pytest.fixture(params=[2, 3])
def dims(request: pytest.FixtureRequest) -> int:
    return request.param


def case(dims: int) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = build_network("small_cnn", dims, 2, 3).eval()
    size = {2: 16, 3: 8}[dims]
    return network, torch.rand(4, 2, *[size] * dims), torch.tensor([0, 1, 2, 1])


def compared(network: torch.nn.Module, dims: int) -> list[Method]:
    own = IntegratedGradCAM(network, "features.1", formula="complete", baselines="background")
    return compared_methods(own, "features", case(dims)[1])


def made(dims: int, without: set[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Method]:
    monkeypatch.setattr(rivals, "find_spec", lambda n: None if n in without else find_spec(n))
    network, _, _ = case(dims)
    return {m.name: m for m in compared(network, dims)}


def test_all_methods_give_maps_of_the_images_that_are_not_negative(dims: int) -> None:
    network, x, classes = case(dims)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = compared(network, dims)
    missing = {"LayerCAM", "LayerCAM at features.1", "Score-CAM"} if dims == 3 else set()
    assert {m.name for m in found} == NAMES - missing
    for method in found:
        maps = method.maps(x, classes)
        assert maps.shape == (4, *x.shape[2:]), method.name
        assert (maps >= 0).all(), method.name
        assert maps.any(), method.name
        assert not maps.requires_grad
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_grad_cam_is_the_same_with_and_without_captum(
    dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, x, classes = case(dims)
    ours = made(dims, {"captum"}, monkeypatch)["Grad-CAM"]
    theirs = made(dims, set(), monkeypatch)["Grad-CAM"]
    assert (ours.source, theirs.source) == ("cellcam", "captum")
    torch.testing.assert_close(ours.maps(x, classes), theirs.maps(x, classes), atol=1e-6, rtol=0)


def test_grad_cam_plus_plus_is_the_same_with_and_without_pytorch_grad_cam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, x, classes = case(2)
    ours = made(2, {"pytorch_grad_cam"}, monkeypatch)["Grad-CAM++"]
    theirs = made(2, set(), monkeypatch)["Grad-CAM++"]
    assert (ours.source, theirs.source) == ("cellcam", "pytorch-grad-cam")
    torch.testing.assert_close(ours.maps(x, classes), theirs.maps(x, classes), atol=1e-6, rtol=0)


def test_maps_of_pytorch_grad_cam_are_those_before_rescaling() -> None:
    network, x, classes = case(2)
    targets = [ClassifierOutputTarget(k) for k in classes.tolist()]
    found = {m.name: m for m in compared(network, 2)}
    with GradCAMPlusPlus(network, [network.features]) as cam:
        scaled = cam(x, targets)
    own = found["Grad-CAM++"].maps(x, classes).numpy()
    for ours, theirs in zip(own, scaled, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    with GradCAM(network, [network.features]) as cam:
        scaled = cam(x, targets)
    plain = LayerGradCam(network, network.features).attribute(x, classes, relu_attributions=True)
    own = found["Grad-CAM"].maps(x, classes).numpy()
    assert plain.shape[2:] == (4, 4)
    for ours, theirs in zip(own, scaled, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_missing_packages_are_named_with_the_command_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert left_out() == []
    found = made(2, {"pytorch_grad_cam", "captum", "torchcam"}, monkeypatch)
    assert set(found) == NAMES - {
        "LayerCAM",
        "LayerCAM at features.1",
        "Score-CAM",
        "Integrated Gradients",
    }
    missing = left_out()
    assert len(missing) == 3
    assert all("pip install 'cellcam[rivals]'" in line for line in missing)
    assert any("Score-CAM" in line for line in missing)
