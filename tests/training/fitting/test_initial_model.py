from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cellcam_training.fitting.initial_model import (
    chosen_network,
    initial_model,
)
from cellcam_training.fitting.pretrained_weights import load_pretrained
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.crops import CropSet
from torch.nn.functional import conv2d

from cellcam.errors import CellCamError, UsageError
from cellcam.models.registry import build_network

LAYER = "layer1.0.conv1.weight"


def crops(size: int = 64, channels: int = 5) -> CropSet:
    pixels = np.random.default_rng(0).integers(0, 99, (4, channels, size, size)).astype(np.uint8)
    return CropSet(pixels, tuple(f"c{i}" for i in range(channels)), None)


def initial_network(recipe: Recipe) -> torch.nn.Module:
    return initial_model(("a", "b"), recipe, crops(), np.ones(4, bool), "cpu").network


@pytest.fixture
def imagenet() -> dict[str, torch.Tensor]:
    """Weights as torchvision provides them: three colours, 1000 classes."""
    return build_network("tv_resnet18", 2, 3, 1000).state_dict()


def test_the_network_is_chosen_by_crop_size_and_number_of_cells() -> None:
    assert chosen_network(Recipe(), (64, 64), 2000)[0] == "cell_cnn"
    name, why = chosen_network(Recipe(), (24, 64), 2000)
    assert name == "small_cnn"
    assert "24 x 64" in why
    name, why = chosen_network(Recipe(), (64, 64), 200)
    assert name == "small_cnn"
    assert "200 cells" in why
    assert chosen_network(Recipe(network="densenet121"), (24, 64), 9)[0] == "densenet121"


def test_pretrained_filters_respond_to_a_grey_image_as_before(
    imagenet: dict[str, torch.Tensor],
) -> None:
    network = build_network("tv_resnet18", 2, 5, 2).eval()
    classes = network.get_submodule("fc").weight.clone()
    load_pretrained(network, imagenet)
    grey = torch.rand(2, 1, 32, 32)
    filters = network.get_submodule("conv1").weight
    after = conv2d(grey.expand(-1, 5, -1, -1), filters)
    before = conv2d(grey.expand(-1, 3, -1, -1), imagenet["conv1.weight"])
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
    assert torch.equal(network.state_dict()[LAYER], imagenet[LAYER])
    assert torch.equal(network.get_submodule("fc").weight, classes)


@pytest.mark.fault("30 pretrained weights of another network", "refused")
def test_weights_of_another_network_are_refused(imagenet: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="another"):
        load_pretrained(build_network("tv_resnet50", 2, 3, 2), imagenet)


def test_weights_in_the_cache_of_torchvision_are_used(
    imagenet: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(imagenet, folder / "resnet18-f37072fd.pth")
    found = initial_network(Recipe(network="tv_resnet18"))
    assert torch.equal(found.state_dict()[LAYER], imagenet[LAYER])
    random = initial_network(Recipe(network="tv_resnet18", pretrained="no"))
    assert not torch.equal(random.state_dict()[LAYER], imagenet[LAYER])


def test_a_recipe_can_name_a_weights_file(
    imagenet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(imagenet, tmp_path / "mine.pth")
    found = initial_network(Recipe(network="tv_resnet18", pretrained=tmp_path / "mine.pth"))
    assert torch.equal(found.state_dict()[LAYER], imagenet[LAYER])
    (tmp_path / "mine.pth").write_bytes(b"no weights")
    for network in ("tv_resnet18", "small_cnn"):
        with pytest.raises(CellCamError, match="pretrained"):
            initial_network(Recipe(network=network, pretrained=tmp_path / "mine.pth"))
