"""What a GPU does otherwise: copies that are not waited for, its memory, its random numbers.

Without one, what these tests can show runs on the CPU. They need no fixture of the project:
``benchmarks/gpu.py`` runs them where little more than torch is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.networks import images, small_network
from torch import nn

from cellcam import IntegratedGradCAM
from cellcam.explain.baselines import baseline_images
from cellcam.explain.memory import automatic_batch_size
from cellcam.models.registry import build_network

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
STEPS = {"n_steps": 4}


@pytest.fixture(autouse=True)
def _no_tf32() -> Any:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def test_images_of_the_gpu_reach_a_network_on_the_cpu_whole() -> None:
    network, x = small_network().float(), torch.rand(256, 3, 64, 64)
    expected = IntegratedGradCAM(network, **STEPS)(x, 0)
    there = x.to(DEVICE)
    _ = there.double().square().sum()  # the card is busy when the copy is asked for
    found = IntegratedGradCAM(network, **STEPS)(there, 0)
    assert found.maps.device == there.device
    torch.testing.assert_close(found.maps.cpu(), expected.maps)


def test_a_network_may_be_moved_between_calls() -> None:
    network, x = small_network().float(), images(3).float()
    cam = IntegratedGradCAM(network, **STEPS)
    expected = cam(x, "all").maps
    network.to(DEVICE)
    torch.testing.assert_close(cam(x, "all").maps, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"formula": "complete", "baselines": "background", "rtol": 0.05, "rtol_of": "strongest"},
        {"score": "log_probability", "baselines": "blur", **STEPS},
        {"channels": "each", "formula": "complete", "rtol": 0.1},
        {"method": "gausslegendre", "n_steps": 5, "upsample": False},
    ],
)
def test_settings_give_the_maps_of_the_cpu(settings: dict[str, Any]) -> None:
    x = images(4)
    expected = IntegratedGradCAM(small_network(), "features.1")(x, "all", **settings)
    network = small_network().to(DEVICE)
    found = IntegratedGradCAM(network, "features.1")(x.to(DEVICE), "all", **settings)
    for name in ("maps", "error", "logits", "completeness_gap", "n_evaluations"):
        ours, theirs = getattr(found, name).cpu(), getattr(expected, name)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("layer", ["features", "features.1"])
def test_the_same_input_gives_the_same_bytes(layer: str) -> None:
    network, x = small_network().float().to(DEVICE), images(16).float().to(DEVICE)
    first, second = (
        IntegratedGradCAM(network, layer, formula="complete", rtol=0.05)(x, "all") for _ in range(2)
    )
    assert torch.equal(first.maps, second.maps)
    assert torch.equal(first.error, second.error)


def test_volumes() -> None:
    torch.manual_seed(0)
    network = build_network("small_cnn", 3, 2, 3).double().eval()
    x = torch.rand(2, 2, 8, 16, 16).double()
    expected = IntegratedGradCAM(network, **STEPS)(x, "all").maps
    found = IntegratedGradCAM(network.to(DEVICE), **STEPS)(x.to(DEVICE), "all").maps
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("baseline", ["black", "background", "blur"])
def test_baselines_are_those_of_the_cpu(baseline: Any) -> None:
    x = images(3)
    ours = baseline_images(baseline, x.to(DEVICE))
    torch.testing.assert_close(ours.cpu(), baseline_images(baseline, x), rtol=1e-9, atol=1e-12)


def test_classes_may_lie_anywhere() -> None:
    network, x = small_network().to(DEVICE), images(3).to(DEVICE)
    cam = IntegratedGradCAM(network, **STEPS)
    classes = torch.tensor([2, 0, 1])
    torch.testing.assert_close(cam(x, classes).maps, cam(x, classes.to(DEVICE)).maps)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_the_batch_is_chosen_on_a_card_with_little_room() -> None:
    """Where not even the images of the trial fit together, it goes on with fewer."""
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network, x = network.to(DEVICE), torch.rand(4, 1, 1024, 1024)
    network(x[:1].to(DEVICE))
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved(DEVICE) + 200e6  # an image takes 67 MB and more
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info(DEVICE)[1])
    try:
        assert automatic_batch_size(network, x, DEVICE) >= 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def models() -> Any:
    """The same model on the CPU and on the GPU."""
    pytest.importorskip("pydantic")
    from cellcam.models.model import CellModel
    from cellcam.models.normalisation import Normalisation
    from cellcam.models.spec import ModelSpec

    spec = ModelSpec(
        network="small_cnn",
        channels=("DNA", "actin", "tubulin"),
        classes=("G1", "S", "M"),
        crop_size=(16, 16),
        normalisation=Normalisation(offset=(100,) * 3, scale=(300,) * 3),
        target_layer="features.1",
        formula="complete",
        baseline="background",
    )
    on_cpu = CellModel(spec, small_network().float(), torch.device("cpu"))
    return on_cpu, CellModel(spec, small_network().float(), DEVICE)


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1200, (40, 3, 16, 16)).astype(np.uint16)


def test_a_model_gives_the_calls_shares_and_maps_of_the_cpu(models: Any, crops: Any) -> None:
    on_cpu, ours = models
    np.testing.assert_allclose(
        ours.probabilities(crops), on_cpu.probabilities(crops), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        ours.channel_shares(crops), on_cpu.channel_shares(crops), rtol=1e-2, atol=1e-4
    )
    pairs = [(0, 1), (2, -1)]
    for explain in (
        lambda model: model.explain(crops[:4], "all", n_steps=6),
        lambda model: model.explain_differences(crops[:4], pairs, n_steps=6),
        lambda model: model.explain_differences(
            crops[:2], torch.tensor([[[0, 1]], [[2, 0]]]), n_steps=6
        ),
    ):
        found, expected = explain(ours).maps.cpu(), explain(on_cpu).maps
        assert (found - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.fault("27 memory runs out while cells are called", "smaller batches; the same calls")
def test_calls_and_shares_go_on_when_memory_runs_out(models: Any, crops: Any) -> None:
    _, model = models
    calls, shares = model.probabilities(crops), model.channel_shares(crops)

    def refuse(_module: object, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > 6:
            raise torch.OutOfMemoryError("There is no room for this batch.")

    model.engine.batches.size = 256
    handle = model.network.register_forward_pre_hook(refuse)
    try:
        np.testing.assert_allclose(model.probabilities(crops), calls, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.channel_shares(crops), shares, rtol=1e-3, atol=1e-4)
    finally:
        handle.remove()
    assert model.engine.batches.size <= 6


def test_a_batch_is_augmented_as_on_the_cpu() -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("pydantic")
    pytest.importorskip("yaml")
    from cellcam_training.fitting.augmentation import Augmentation, augmented

    settings = Augmentation(blur=1.0, background=0.1, missing_stain=0.2)

    def made(device: torch.device) -> torch.Tensor:
        random = torch.Generator().manual_seed(4)
        return augmented(images(8).float().to(device), settings, random).cpu()

    torch.testing.assert_close(made(DEVICE), made(torch.device("cpu")), rtol=1e-3, atol=1e-3)


def test_the_random_numbers_of_a_training_go_on_where_they_were() -> None:
    pytest.importorskip("pydantic")
    from cellcam_training.fitting.checkpoint import RandomState

    random = RandomState(torch.Generator().manual_seed(1), DEVICE)
    state = random.state_dict()
    expected = torch.rand(3, device=DEVICE)
    random.load_state_dict(state)
    assert torch.equal(torch.rand(3, device=DEVICE), expected)
