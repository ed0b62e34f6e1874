"""Files of weights from elsewhere: prefixes, other channels, licences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from cellcam_training.fitting.pretrained_weights import load_pretrained, pretrained_weights
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.weight_names import without_prefix
from cellcam_training.fitting.weight_origins import weight_origins
from safetensors.torch import save_file
from support.models import untrained_model
from torch import Tensor
from torch.nn.functional import conv2d

from cellcam import save_model
from cellcam.errors import UsageError
from cellcam.models.registry import build_network

NAME = "timm/vit_tiny_patch16_224"
LAYER = "network.blocks.3.mlp.fc1.weight"


@pytest.fixture(scope="module")
def foreign() -> dict[str, Tensor]:
    """Weights of the bare network for three colours, without a head, as DINO publishes them."""
    torch.manual_seed(1)
    weights = build_network(NAME, 2, 3, 2).get_submodule("network").state_dict()
    return {name: value for name, value in weights.items() if not name.startswith("head")}


@pytest.mark.parametrize("prefix", ["", "module.", "teacher.backbone.", "model.encoder."])
def test_a_prefix_is_taken_off(foreign: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}{name}": v for name, v in foreign.items()}, tmp_path / "a.pth")
    network = build_network(NAME, 2, 3, 4)
    weights = pretrained_weights(NAME, tmp_path / "a.pth")
    assert weights is not None
    load_pretrained(network, weights)
    assert torch.equal(network.state_dict()[LAYER], foreign["blocks.3.mlp.fc1.weight"])


def test_of_student_and_teacher_in_nested_dictionaries_the_teacher_counts(
    foreign: dict[str, Tensor], tmp_path: Path
) -> None:
    teacher = {f"module.backbone.{name}": v for name, v in foreign.items()}
    teacher["module.head.mlp.0.weight"] = torch.rand(4, 192)
    student = {name: torch.zeros_like(v) for name, v in teacher.items()}
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, tmp_path / "a.pth")
    weights = pretrained_weights(NAME, tmp_path / "a.pth")
    assert weights is not None
    network = build_network(NAME, 2, 3, 4)
    load_pretrained(network, weights)
    assert torch.equal(network.state_dict()[LAYER], foreign["blocks.3.mlp.fc1.weight"])


def test_the_prefix_is_the_one_that_names_most_of_the_network() -> None:
    one = torch.zeros(1)
    weights = {"a.norm.weight": one, "b.norm.weight": one, "b.fc.weight": one, "fc.bias": one}
    found = without_prefix(weights, {"norm.weight", "fc.weight", "fc.bias"})
    assert set(found) == {"norm.weight", "fc.weight"}


def test_more_channels_than_colours_see_a_grey_image_as_before(
    foreign: dict[str, Tensor],
) -> None:
    network = build_network(NAME, 2, 5, 2)
    load_pretrained(network, foreign)
    grey = torch.rand(1, 1, 32, 32)
    filters = network.state_dict()["network.patch_embed.proj.weight"]
    before = conv2d(grey.expand(-1, 3, -1, -1), foreign["patch_embed.proj.weight"], stride=16)
    after = conv2d(grey.expand(-1, 5, -1, -1), filters, stride=16)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_weights_of_another_depth_are_refused(foreign: dict[str, Tensor]) -> None:
    deeper = foreign | {"blocks.12.norm1.weight": torch.ones(192)}
    with pytest.raises(UsageError, match=r"blocks\.12\.norm1\.weight"):
        load_pretrained(build_network(NAME, 2, 3, 2), deeper)
    shallower = {name: v for name, v in foreign.items() if not name.startswith("blocks.11")}
    with pytest.raises(UsageError, match=r"blocks\.11.* is missing"):
        load_pretrained(build_network(NAME, 2, 3, 2), shallower)


def test_the_licence_is_that_of_the_file_unless_the_recipe_states_another(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, {"license": "CC-BY-NC-4.0"})
    (found,) = weight_origins(Recipe(network=NAME, pretrained=path))["weights_from"]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == {"name": "w.safetensors", "sha256": sha256, "licence": "CC-BY-NC-4.0"}
    (stated,) = weight_origins(Recipe(network=NAME, pretrained=path, licence="MIT"))["weights_from"]
    assert stated["licence"] == "MIT"
    assert weight_origins(Recipe()) == {}


def test_the_model_card_names_what_the_weights_began_with(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, {"license": "CC-BY-NC-4.0"})
    origins = weight_origins(Recipe(network=NAME, pretrained=path))
    save_model(untrained_model(training=origins), tmp_path / "first")
    assert "licence: CC-BY-NC-4.0" in (tmp_path / "first" / "docs" / "README.md").read_text()
    # A model that goes on from it hands this on.
    handed_on = weight_origins(Recipe(start_from=tmp_path / "first"))
    save_model(untrained_model(training=handed_on), tmp_path / "second")
    card = (tmp_path / "second" / "docs" / "README.md").read_text()
    assert "w.safetensors" in card
    assert "- first (sha256" in card
    assert "not stated; ask its makers" in card
