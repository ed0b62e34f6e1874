"""Explanations on the GPU. Without one, what these tests can show runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from support.networks import images, small_network
from torch import Tensor

from cellcam import IntegratedGradCAM
from cellcam.explain.memory import automatic_batch_size
from cellcam.models.registry import build_network, network_entry

HAS_GPU = torch.cuda.is_available()
FIXED = {"method": "riemann_right", "n_steps": 6}


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The GPU without TF32, or the CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda" if HAS_GPU else "cpu")
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("settings", [FIXED, {"rtol": 0.01}, {"channels": "each", **FIXED}])
def test_equals_the_cpu_in_float64(device: torch.device, settings: dict[str, object]) -> None:
    x = images(5)
    exact = IntegratedGradCAM(small_network())(x, "all", **settings)
    network = small_network().float().to(device)
    ours = IntegratedGradCAM(network)(x.float().to(device), "all", **settings)
    assert ours.maps.device.type == device.type
    assert relative(ours.maps, exact.maps) < (1e-2 if "rtol" in settings else 1e-4)


def test_images_may_stay_in_main_memory(device: torch.device) -> None:
    network, x = small_network().float().to(device), images(7).float()
    ours = IntegratedGradCAM(network)(x, 0, internal_batch_size=3, **FIXED)
    assert ours.maps.device == x.device
    there = IntegratedGradCAM(network)(x.to(device), 0, **FIXED)
    torch.testing.assert_close(ours.maps, there.maps.cpu(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["densenet121", "tv_convnext_tiny", "seresnet50"])
def test_other_precision_and_layout_change_little(device: torch.device, name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 2, 4, 3).to(device).eval()
    x = torch.rand(4, 4, 64, 64, device=device)
    cam = IntegratedGradCAM(network, network_entry(name).target_layer, **FIXED)
    plain = cam(x, "all").maps
    assert relative(cam(x, "all", precision="auto").maps, plain) < 0.1


def test_compiled_networks_are_unwrapped(device: torch.device) -> None:
    network, x = small_network().float().to(device), images(2).float().to(device)
    plain = IntegratedGradCAM(network, "features.3")(x, 0, **FIXED).maps
    compiled = IntegratedGradCAM(torch.compile(network), "features.3")(x, 0, **FIXED).maps
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-6)


def test_the_batch_fits_what_is_free(device: torch.device) -> None:
    network, x = small_network().float().to(device), images(8).float()
    batch = automatic_batch_size(network, x, device)
    assert 8 <= batch <= 1024
    larger = torch.zeros(1, 3, 256, 256)
    assert automatic_batch_size(network, larger, device) <= batch


@pytest.mark.fault("27 memory runs out while cells are explained", "smaller batches; the same maps")
def test_goes_on_when_memory_runs_out(device: torch.device) -> None:
    """On the GPU for want of room; on the CPU the network says that there is none."""
    network, x = small_network().float().to(device), torch.rand(256, 3, 96, 96)
    expected = IntegratedGradCAM(network)(x, 0, internal_batch_size=4, **FIXED)
    crowded = _crowded(network, device)
    try:
        ours = IntegratedGradCAM(network)(x, 0, internal_batch_size=256, **FIXED)
    finally:
        crowded()
    torch.testing.assert_close(ours.maps, expected.maps, rtol=1e-3, atol=1e-5)


def _crowded(network: torch.nn.Module, device: torch.device) -> Callable[[], object]:
    """Leave room for few images only; undone by calling what comes back."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved(device) + 64e6) / total
        )
        return lambda: torch.cuda.set_per_process_memory_fraction(1.0)

    def refuse(_module: object, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 8:
            raise torch.OutOfMemoryError("There is no room for this batch.")

    return network.register_forward_pre_hook(refuse).remove


def relative(ours: Tensor, exact: Tensor) -> float:
    return float((ours.cpu().double() - exact.cpu().double()).norm() / exact.cpu().double().norm())
