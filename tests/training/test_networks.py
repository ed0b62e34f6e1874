from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cellcam_training.fitting.initial_model import chosen_network, load_pretrained, untrained_model
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.tables.crops import CropSet
from torch.nn.functional import conv2d

from cellcam.errors import UsageError
from cellcam.models.registry import build_network

LAYER = "layer1.0.conv1.weight"


def crops(size: int = 64, channels: int = 5) -> CropSet:
    pixels = np.random.default_rng(0).integers(0, 99, (4, channels, size, size)).astype(np.uint8)
    return CropSet(pixels, tuple(f"c{i}" for i in range(channels)), None)


def untrained(recipe: Recipe) -> torch.nn.Module:
    return untrained_model(("a", "b"), recipe, crops(), np.ones(4, bool), "cpu").network


@pytest.fixture
def imagenet() -> dict[str, torch.Tensor]:
    """Weights of the form that torchvision hands out: three colours, a thousand classes."""
    return build_network("tv_resnet18", 2, 3, 1000).state_dict()


def test_the_network_fits_the_crops_and_says_why() -> None:
    assert chosen_network(Recipe(), (64, 64), 2000)[0] == "cell_cnn"
    name, why = chosen_network(Recipe(), (24, 64), 2000)
    assert name == "small_cnn"
    assert "24 x 64" in why
    name, why = chosen_network(Recipe(), (64, 64), 200)
    assert name == "small_cnn"
    assert "200 cells" in why
    assert chosen_network(Recipe(network="densenet121"), (24, 64), 9)[0] == "densenet121"


def test_few_cells_are_seen_more_often_in_smaller_batches() -> None:
    few, many = schedule_of(Recipe(), 160), schedule_of(Recipe(), 100_000)
    assert few.epochs > schedule_of(Recipe(), 2000).epochs > many.epochs
    assert few.batch_size < many.batch_size
    chosen = Recipe(epochs=7, batch_size=9, patience=2, label_smoothing=0.1)
    assert schedule_of(chosen, 160) == (7, 2, 9, 0.1)
    assert (few.label_smoothing, many.label_smoothing) == (0, 0.05)


def test_pretrained_weights_see_a_grey_image_as_before(imagenet: dict[str, torch.Tensor]) -> None:
    network = build_network("tv_resnet18", 2, 5, 2).eval()
    classes = network.get_submodule("fc").weight.clone()
    load_pretrained(network, imagenet)
    grey = torch.rand(2, 1, 32, 32)
    own = network.get_submodule("conv1").weight
    own = conv2d(grey.expand(-1, 5, -1, -1), own)
    before = conv2d(grey.expand(-1, 3, -1, -1), imagenet["conv1.weight"])
    torch.testing.assert_close(own, before, atol=1e-5, rtol=1e-4)
    assert torch.equal(network.state_dict()[LAYER], imagenet[LAYER])
    assert torch.equal(network.get_submodule("fc").weight, classes)


def test_weights_of_another_network_are_refused(imagenet: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="another"):
        load_pretrained(build_network("tv_resnet50", 2, 3, 2), imagenet)


def test_weights_on_disk_are_used_where_torchvision_keeps_them(
    imagenet: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(imagenet, folder / "resnet18-f37072fd.pth")
    found = untrained(Recipe(network="tv_resnet18"))
    assert torch.equal(found.state_dict()[LAYER], imagenet[LAYER])
    random = untrained(Recipe(network="tv_resnet18", pretrained="no"))
    assert not torch.equal(random.state_dict()[LAYER], imagenet[LAYER])


def test_a_file_of_weights_can_be_named(imagenet: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(imagenet, tmp_path / "mine.pth")
    found = untrained(Recipe(network="tv_resnet18", pretrained=tmp_path / "mine.pth"))
    assert torch.equal(found.state_dict()[LAYER], imagenet[LAYER])
    (tmp_path / "mine.pth").write_bytes(b"no weights")
    for network in ("tv_resnet18", "small_cnn"):
        with pytest.raises(UsageError, match="pretrained"):
            untrained(Recipe(network=network, pretrained=tmp_path / "mine.pth"))
