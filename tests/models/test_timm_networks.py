"""Architectures of timm by name: the layer, crops of any size, names that are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch.nn.functional import interpolate

from cellcam import CellModel, ModelSpec, load_model, save_model
from cellcam.errors import UsageError
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import build_network, network_entry, network_names
from cellcam.models.timm_networks import last_layer

LISTED = [name for name in network_names() if name.startswith("timm/")]


@pytest.mark.parametrize("name", LISTED)
def test_the_layer_in_the_table_is_the_one_that_a_trial_finds(name: str) -> None:
    assert network_entry(name).cam_layer == last_layer(name)


def test_an_architecture_that_is_not_in_the_table_has_an_entry_of_its_own() -> None:
    entry = network_entry("timm/resnet10t")
    assert entry.target_layer == entry.cam_layer == "network.layer4"
    assert entry.spatial_dims == (2,)
    assert build_network("timm/resnet10t", 2, 4, 3).eval()(torch.rand(2, 4, 30, 50)).shape == (2, 3)


def test_crops_are_resized_to_the_size_of_the_network() -> None:
    network = build_network("timm/resnet10t", 2, 3, 2).eval()
    inside = network.get_submodule("network")
    assert timm.create_model("resnet10t").pretrained_cfg["input_size"] == (3, 176, 176)
    for size in (40, 176, 300):
        x = torch.rand(1, 3, size, size)
        resized = interpolate(x, (176, 176), mode="bilinear", antialias=size > 176)
        torch.testing.assert_close(network(x), inside(resized))


@pytest.mark.parametrize(
    "name", ["hf-hub:someone/thing", "vit_small_patch16_224.dino", "../resnet50", "local-dir:x", ""]
)
def test_names_that_would_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no architecture"):
        network_entry(f"timm/{name}")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert network_entry(LISTED[0]).cam_layer == "network.blocks.10"  # known without it
    for name in (LISTED[0], "timm/resnet10t"):
        with pytest.raises(UsageError, match=r"cellcam\[timm\]"):
            build_network(name, 2, 3, 2)


def test_a_model_folder_of_a_transformer_comes_back_and_is_explained(tmp_path: Path) -> None:
    name = "timm/vit_tiny_patch16_224"
    spec = ModelSpec(
        network=name,
        channels=("DNA", "actin"),
        classes=("G1", "M"),
        crop_size=(40, 40),
        normalisation=Normalisation(offset=(10.0, 10.0), scale=(5.0, 5.0)),
        target_layer=network_entry(name).target_layer,
        formula="complete",
        baseline="background",
    )
    torch.manual_seed(0)
    model = CellModel(spec, build_network(name, 2, 2, 2), torch.device("cpu"))
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m", "cpu")
    crops = np.random.default_rng(0).integers(0, 30, (2, 2, 40, 40)).astype(np.uint16)
    np.testing.assert_allclose(loaded.logits(crops), model.logits(crops), rtol=1e-5, atol=1e-6)
    assert loaded.layers["network.blocks.10"] == (14, 14)
    found = loaded.explain(crops, n_steps=2)
    assert found.maps.shape == (2, 1, 40, 40)
    assert found.layout == "tokens (14 x 14 and 1 without a place)"
