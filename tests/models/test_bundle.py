from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cellcam import CellModel, ModelError, ModelSpec, load_model, save_model
from cellcam.models.bundle import SPEC, WEIGHTS
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import build_network

SPECIMEN = ModelSpec(
    network="small_cnn",
    channels=("DNA", "actin"),
    classes=("G1", "S", "M"),
    crop_size=(16, 20),
    pixel_size_um=(0.5, 0.5),
    normalisation=Normalisation(offset=(100.0, 30.0), scale=(50.0, 7.0)),
    target_layer="features",
    temperature=1.5,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("small_cnn", 2, 2, 3)
    save_model(CellModel(SPECIMEN, network, torch.device("cpu")), tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def replace_weights(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(folder / SPEC, lambda spec: spec.update(weights_sha256=digest))


def save_tensors(folder: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    replace_weights(folder, (folder / WEIGHTS).read_bytes())


def test_a_model_comes_back_as_it_was(folder: Path) -> None:
    model = load_model(folder, "cpu")
    torch.manual_seed(0)
    network = build_network("small_cnn", 2, 2, 3)
    original = CellModel(SPECIMEN, network, torch.device("cpu"))
    crops = np.random.default_rng(0).integers(0, 900, (5, 2, 16, 20)).astype(np.uint16)
    np.testing.assert_array_equal(model.probabilities(crops), original.probabilities(crops))
    assert model.spec.model_copy(update={"weights_sha256": ""}) == SPECIMEN
    assert not model.network.training


def test_the_folder_is_a_monai_bundle(folder: Path) -> None:
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    wanted = {"version", "monai_version", "pytorch_version", "numpy_version", "task",
              "required_packages_version", "description", "authors", "copyright",
              "network_data_format"}  # fmt: skip
    assert wanted <= set(metadata)
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "G1", "1": "S", "2": "M"}
    assert (folder / "docs/README.md").read_text().startswith("# ")


def test_normalisation_and_temperature_are_applied(folder: Path) -> None:
    model = load_model(folder, "cpu")
    crops = np.random.default_rng(0).integers(0, 900, (3, 2, 16, 20)).astype(np.uint16)
    by_hand = (crops - np.array([100, 30])[:, None, None]) / np.array([50, 7])[:, None, None]
    with torch.no_grad():
        scores = model.network(torch.from_numpy(by_hand).float()) / 1.5
    np.testing.assert_allclose(model.probabilities(crops), scores.softmax(1), rtol=1e-4)
    np.testing.assert_allclose(model.black().flatten(), [-2, -30 / 7], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.float32])
def test_counts_of_every_dtype_are_normalised_alike(folder: Path, dtype: type) -> None:
    model = load_model(folder, "cpu")
    crops = np.random.default_rng(0).integers(0, 100, (2, 2, 16, 20))
    expected = model.normalised(crops.astype(np.float64))
    torch.testing.assert_close(model.normalised(crops.astype(dtype)), expected)


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


class TestNothingIsExecuted:
    @pytest.mark.fault(
        "30 a model folder with expressions or targets of MONAI in its JSON",
        "refused; nothing is executed",
    )
    @pytest.mark.parametrize(
        "change",
        [
            lambda spec: spec.update(target_layer="$__import__('os').system('touch canary')"),
            lambda spec: spec.update(classes=["G1", " $import os", "M"]),
            lambda spec: spec["training"].update(extra=[{"_target_": "os.system"}]),
            lambda spec: spec["training"].update(extra="@network"),
            lambda spec: spec["training"].update(extra="%configs/other.json"),
            lambda spec: spec["training"].update({"$print(1)": 1}),
        ],
    )
    @pytest.mark.parametrize("name", ["inference", "metadata"])
    def test_bundle_commands(self, folder: Path, change: Callable, name: str) -> None:
        path = folder / "configs" / f"{name}.json"
        edit(path, lambda content: content.setdefault("training", {}))
        edit(path, change)
        with pytest.raises(ModelError):
            load_model(folder)
        assert not Path("canary").exists()

    @pytest.mark.fault(
        "30 a model folder with pickles, TorchScript or scripts", "refused; nothing is executed"
    )
    @pytest.mark.parametrize(
        "name", ["models/model.pt", "models/model.ts", "models/extra.pkl", "scripts/a.py", "a.yaml"]
    )
    def test_files_that_can_carry_code(self, folder: Path, tmp_path: Path, name: str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(_Canary(tmp_path / "canary")))
        with pytest.raises(ModelError, match="can carry code"):
            load_model(folder)
        assert not (tmp_path / "canary").exists()

    @pytest.mark.fault(
        "30 a malicious pickle named model.safetensors", "refused; nothing is executed"
    )
    def test_a_pickle_named_like_weights(self, folder: Path, tmp_path: Path) -> None:
        replace_weights(folder, pickle.dumps(_Canary(tmp_path / "canary")))
        with pytest.raises(ModelError, match="no safetensors"):
            load_model(folder)
        assert not (tmp_path / "canary").exists()

    @pytest.mark.fault("30 a link out of the model folder", "refused")
    def test_a_link_out_of_the_folder(self, folder: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("secret")
        os.symlink(secret, folder / "docs" / "notes.txt")
        with pytest.raises(ModelError, match="leads out"):
            load_model(folder)


class TestWeightsThatDoNotFit:
    @pytest.mark.fault(
        "30 weights with wrong names, shapes, types, NaN or infinity", "refused with the tensor"
    )
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.update({"head.5.weight": torch.zeros(4, 64)}), "expected"),
            (lambda t: t.update({"head.5.bias": torch.zeros(3).double()}), "float64"),
            (lambda t: t.update({"more": torch.zeros(1)}), "more is missing or unknown"),
            (lambda t: t.pop("head.5.bias"), "missing"),
            (lambda t: t["head.5.bias"].fill_(float("nan")), "NaN"),
            (lambda t: t["head.5.bias"].fill_(float("inf")), "NaN"),
        ],
    )
    def test_tensor_by_tensor(self, folder: Path, change: Callable, message: str) -> None:
        save_tensors(folder, change)
        with pytest.raises(ModelError, match=message):
            load_model(folder)

    @pytest.mark.fault("30 truncated weights", "refused")
    def test_cut_off(self, folder: Path) -> None:
        replace_weights(folder, (folder / WEIGHTS).read_bytes()[:-10])
        with pytest.raises(ModelError, match="no safetensors"):
            load_model(folder)

    @pytest.mark.fault("30 weights of which one bit is flipped", "refused: the hash differs")
    def test_another_file_than_described(self, folder: Path) -> None:
        content = bytearray((folder / WEIGHTS).read_bytes())
        content[-1] ^= 1
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ModelError, match="sha256"):
            load_model(folder)

    @pytest.mark.fault("30 a model folder without weights", "refused")
    def test_missing(self, folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        with pytest.raises(ModelError, match="models/model.safetensors is missing"):
            load_model(folder)


@pytest.mark.fault("30 a description of a model that makes no sense", "refused with the file")
@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.update(network="os.system"),
        lambda spec: spec.update(network="tv_resnet18", spatial_dims=3),
        lambda spec: spec.update(unknown=1),
        lambda spec: spec.update(target_layer="nowhere"),
        lambda spec: spec.update(channels=["DNA"]),
        lambda spec: spec.update(channels=["DNA", "DNA"]),
        lambda spec: spec.update(crop_size=[16]),
        lambda spec: spec.update(crop_size=[16, 10**9]),
        lambda spec: spec.update(temperature=0),
        lambda spec: spec["normalisation"].update(scale=[1, 0]),
        lambda spec: spec.pop("classes"),
    ],
)
def test_invalid_descriptions_are_refused(folder: Path, change: Callable) -> None:
    edit(folder / SPEC, change)
    with pytest.raises(ModelError, match=str(SPEC.name)):
        load_model(folder)


@pytest.mark.fault("30 junk, or endless nesting, in the description of a model", "refused")
@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[1]", '"text"'])
def test_broken_json_is_refused(folder: Path, content: str) -> None:
    (folder / SPEC).write_text(content)
    with pytest.raises(ModelError):
        load_model(folder)


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cellcam train"):
        load_model(tmp_path)
