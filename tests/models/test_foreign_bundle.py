"""MONAI's own tools read our model folders; bundles of others become models."""

from __future__ import annotations

import json
import os
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from monai.networks.nets import DenseNet121, resnet18
from safetensors.torch import save_file

from cellcam import CellModel, InputError, ModelError, ModelSpec, load_model, save_model
from cellcam.cli import app
from cellcam.models.bundle import read_spec
from cellcam.models.foreign_bundle import import_bundle
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import build_network

SCALING = Normalisation(offset=(10.0, 0.0), scale=(100.0, 50.0))
# What the page "MONAI Bundle Specification" of MONAI's documentation calls mandatory.
MANDATORY = {
    **dict.fromkeys(("version", "monai_version", "pytorch_version", "numpy_version"), "string"),
    **dict.fromkeys(("task", "description", "authors", "copyright"), "string"),
    "required_packages_version": "object",
    "network_data_format": "object",
}


class TestToolsOfMonai:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        spec = ModelSpec(
            network="small_cnn",
            channels=("DNA", "actin"),
            classes=("G1", "S", "M"),
            crop_size=(16, 20),
            normalisation=SCALING,
            target_layer="features",
        )
        network = build_network("small_cnn", 2, 2, 3)
        save_model(CellModel(spec, network, torch.device("cpu")), tmp_path / "model")
        return tmp_path / "model"

    def verify(self, folder: Path) -> None:
        config = {"network_def": f"$__import__('cellcam').load_model({str(folder)!r}).network"}
        path = folder.parent / "network.json"
        path.write_text(json.dumps(config))
        verify_net_in_out(
            "network_def",
            meta_file=str(folder / "configs" / "metadata.json"),
            config_file=str(path),
            device="cpu",
        )

    def test_input_and_output_are_as_the_metadata_say(self, folder: Path) -> None:
        self.verify(folder)

    @pytest.mark.parametrize(("side", "count"), [("outputs", 4)])
    def test_it_would_notice(self, folder: Path, side: str, count: int) -> None:
        path = folder / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        metadata["network_data_format"][side]["pred"]["num_channels"] = count
        path.write_text(json.dumps(metadata))
        with pytest.raises(ValueError, match="doesn't match: `4`"):
            self.verify(folder)

    def test_metadata_hold_what_is_mandatory(self, folder: Path, tmp_path: Path) -> None:
        schema = {
            "type": "object",
            "required": list(MANDATORY),
            "properties": {name: {"type": kind} for name, kind in MANDATORY.items()},
        }
        (tmp_path / "schema.json").write_text(json.dumps(schema))
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        path = tmp_path / "metadata.json"
        # MONAI fetches the schema that a metadata file names, unless it is there already.
        there = {
            "filepath": str(tmp_path / "schema.json"),
            "hash_val": md5((tmp_path / "schema.json").read_bytes()).hexdigest(),
        }
        path.write_text(json.dumps(metadata | {"schema": "schema.json"}))
        verify_metadata(str(path), **there)
        del metadata["task"]
        path.write_text(json.dumps(metadata | {"schema": "schema.json"}))
        with pytest.raises(ValueError, match="Failed validating"):
            verify_metadata(str(path), **there)

    def test_its_parser_finds_plain_data(self, folder: Path) -> None:
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / "inference.json"))
        parser.read_meta(str(folder / "configs" / "metadata.json"))
        assert parser.get_parsed_content("classes") == ["G1", "S", "M"]
        inputs = parser.get_parsed_content("_meta_#network_data_format#inputs#image")
        assert (inputs["num_channels"], inputs["spatial_shape"]) == (2, [16, 20])


METADATA: dict[str, Any] = {
    "network_data_format": {
        "inputs": {"image": {"spatial_shape": [64, 72], "channel_def": {"0": "DNA"}}},
        "outputs": {"pred": {"channel_def": {"0": "G1", "1": "M", "2": "dead"}}},
    }
}
NETWORK: dict[str, Any] = {
    "_target_": "DenseNet121",
    "spatial_dims": 2,
    "in_channels": 2,
    "out_channels": "@n_classes",
}


@pytest.fixture(scope="module")
def densenet() -> torch.nn.Module:
    torch.manual_seed(0)
    return DenseNet121(2, 2, 3).eval()


@pytest.fixture(scope="module")
def weights(densenet: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(densenet.state_dict(), path)
    return path


class TestImport:
    @pytest.fixture
    def bundle(self, tmp_path: Path, weights: Path) -> Path:
        """A bundle as MONAI's model zoo has them, with transforms and expressions."""
        folder = tmp_path / "theirs"
        config = {
            "imports": ["$import os"],
            "n_classes": 3,
            "device": "$torch.device('cpu')",
            "network_def": NETWORK,
            "preprocessing": {"_target_": "Compose", "transforms": "$[os.abort]"},
        }
        for name, content in {"inference": config, "metadata": METADATA}.items():
            path = folder / "configs" / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        (folder / "models").mkdir()
        (folder / "models" / "model.pt").symlink_to(weights)
        return folder

    def save(self, content: object, bundle: Path) -> None:
        """Replace the weights."""
        (bundle / "models" / "model.pt").unlink()
        torch.save(content, bundle / "models" / "model.pt")

    def imported(self, bundle: Path, **options: Any) -> CellModel:
        return import_bundle(bundle, bundle.parent / "ours", normalisation=SCALING, **options)

    def change_network(self, bundle: Path, **changes: object) -> None:
        path = bundle / "configs" / "inference.json"
        content = json.loads(path.read_text())
        content["network_def"] |= changes
        path.write_text(json.dumps(content))

    def test_it_calls_as_the_network_does(self, bundle: Path, densenet: torch.nn.Module) -> None:
        self.imported(bundle)
        model = load_model(bundle.parent / "ours", "cpu")
        assert model.spec.classes == ("G1", "M", "dead")
        assert model.spec.channels == ("DNA", "channel 2")
        assert model.spec.crop_size == (64, 72)
        crops = np.random.default_rng(0).integers(0, 300, (2, 2, 64, 72)).astype(np.uint16)
        scaled = (crops - np.reshape([10.0, 0], (2, 1, 1))) / np.reshape([100.0, 50], (2, 1, 1))
        with torch.no_grad():
            expected = densenet(torch.tensor(scaled, dtype=torch.float32)).softmax(1)
        np.testing.assert_allclose(model.probabilities(crops), expected, atol=1e-5)

    def test_weights_may_be_safetensors_or_nested(
        self, bundle: Path, densenet: torch.nn.Module
    ) -> None:
        state = densenet.state_dict()
        nested = {"model": {f"module.{name}": t for name, t in state.items()}, "epoch": 7}
        self.save(nested, bundle)
        self.imported(bundle)
        (bundle / "models" / "model.pt").unlink()
        save_file(state, bundle / "models" / "model.safetensors")
        self.imported(bundle)

    def test_on_the_command_line(self, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = bundle.parent / "ours"
        words = f"import-bundle {bundle} --out {out} --offset 10,0 --scale 100,50 --pixel-size 0.5"
        app(words.split(), standalone_mode=False)
        assert "densenet121" in capsys.readouterr().out
        spec = read_spec(out)
        assert spec.normalisation == SCALING
        assert spec.pixel_size_um == (0.5, 0.5)

    def test_a_resnet_has_other_names(self, bundle: Path) -> None:
        network = resnet18(spatial_dims=2, n_input_channels=1, num_classes=2)
        self.save(network.state_dict(), bundle)
        path = bundle / "configs" / "inference.json"
        described = {
            "_target_": "monai.networks.nets.resnet18",
            "spatial_dims": 2,
            "n_input_channels": 1,
            "num_classes": 2,
            "conv1_t_size": 7,
            "pretrained": True,
        }
        path.write_text(json.dumps({"network": described}))
        model = import_bundle(
            bundle,
            bundle.parent / "ours",
            normalisation=Normalisation(offset=(0.0,), scale=(1.0,)),
            classes=["a", "b"],
        )
        assert (model.spec.network, model.spec.classes) == ("resnet18", ("a", "b"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"_target_": "os.system"}, "'os.system'. CellCam builds DenseNet121"),
            ({"_target_": "scripts.nets.DenseNet121"}, "and looks up no other"),
            ({"in_channels": "$os.abort()"}, "which MONAI would execute"),
            ({"in_channels": "@device"}, "which MONAI would execute"),
            ({"in_channels": {"_target_": "os.abort"}}, "which MONAI would execute"),
            ({"in_channels": None}, "no number in_channels"),
            ({"dropout_prob": 0.5}, "dropout_prob=0.5 makes another DenseNet121"),
            ({"act": ["relu", {"inplace": False}]}, "which MONAI would execute"),
            ({"unknown": 1}, "unknown=1 makes another"),
            ({"out_channels": 4}, "does not fit the network"),
            ({"spatial_dims": 3}, "makes no model"),
        ],
    )
    def test_refused_networks(self, bundle: Path, changes: dict, message: str) -> None:
        self.change_network(bundle, **changes)
        with pytest.raises(ModelError, match=message):
            self.imported(bundle)
        assert not (bundle.parent / "ours").exists()

    def test_weights_that_are_a_program(self, bundle: Path) -> None:
        class Program:
            def __reduce__(self) -> tuple:
                return os.mkdir, (str(bundle / "ran"),)

        self.save({"weight": Program()}, bundle)
        with pytest.raises(InputError, match="cannot be read"):
            self.imported(bundle)
        assert not (bundle / "ran").exists()

    def test_what_is_missing_is_said(self, bundle: Path) -> None:
        (bundle / "configs" / "metadata.json").unlink()
        with pytest.raises(ModelError, match="crop_size="):
            self.imported(bundle)
        with pytest.raises(ModelError, match="densenet121 cannot see crops of 24 x 24"):
            self.imported(bundle, crop_size=(24, 24))
        with pytest.raises(ModelError, match="2 channels and 3 classes; 2 and 2 were named"):
            self.imported(bundle, crop_size=(64, 64), classes=["a", "b"])
        (bundle / "models" / "model.pt").unlink()
        with pytest.raises(ModelError, match="has no weights"):
            self.imported(bundle, crop_size=(64, 64))
        (bundle / "configs" / "inference.json").unlink()
        with pytest.raises(ModelError, match=r"describes no network.*YAML"):
            self.imported(bundle)
