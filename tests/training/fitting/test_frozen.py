"""Frozen trainings: the features of a backbone, a linear probe, an ordinary model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cellcam_training.fitting.linear_probe import fitted_probe
from cellcam_training.fitting.pretrained_weights import load_pretrained
from cellcam_training.fitting.recipe import Recipe, changed_recipe, read_recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.tables.cell_table import CellTable
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from support.models import untrained_model

from cellcam import CellModel, load_model, save_model
from cellcam.errors import UsageError
from cellcam.models.registry import build_network


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Model folder with two stains, three classes and crops of 16 pixels."""
    save_model(untrained_model(), tmp_path / "backbone")
    return tmp_path / "backbone"


def frozen(**changes: object) -> Recipe:
    return changed_recipe(read_recipe(Path("frozen")), channels=("light", "DNA"), **changes)


def test_the_model_is_an_ordinary_folder_with_the_backbone_s_weights(
    table: CellTable, backbone: Path, tmp_path: Path
) -> None:
    model = train_model(table, frozen(backbone=backbone), tmp_path / "m", "cpu")
    loaded = load_model(tmp_path / "m", "cpu")
    assert loaded.spec == model.spec
    assert loaded.spec.classes == ("G1", "G2")
    before, after = (load_model(f, "cpu").network.state_dict() for f in (backbone, tmp_path / "m"))
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"head.5.weight", "head.5.bias"}  # the last layer
    training = loaded.spec.training
    assert training["validation"]["balanced_accuracy"] > 0.85
    assert training["validation"]["n"] == 80  # all cells, in five parts
    assert training["epochs"] == 1
    assert loaded.spec.known_cells is not None
    assert "- backbone (sha256" in (tmp_path / "m" / "docs" / "README.md").read_text()
    crops = np.random.default_rng(0).integers(90, 200, (2, 2, 12, 12)).astype(np.uint16)
    found = loaded.explain(crops, "all", rtol=0.01)
    gap = (found.maps.sum((2, 3)) != 0).all()
    assert gap
    assert found.completeness_gap.max() < 0.01


def cells_of(
    n: int, n_classes: int, n_noise: int, together: float = 0.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of cells: two tell the classes apart, with noise that is partly the same."""
    random, truth = np.random.default_rng(seed), np.arange(n) % n_classes
    two = random.normal(size=(n, 2)) + together * random.normal(size=(n, 1))
    two += truth[:, None] * [1.5, 1.0]
    noise = random.normal(7, 3, (n, n_noise))
    return np.c_[1e3 * two, noise, np.full(n, 3.0)].astype(np.float32), truth


@pytest.mark.parametrize("n_classes", [2, 4])
def test_of_many_cells_the_probe_is_fisher_s_discriminant(n_classes: int) -> None:
    features, truth = cells_of(4000, n_classes, 3, together=1)
    probe = fitted_probe(features, truth, n_classes)
    peer = LinearDiscriminantAnalysis(priors=np.full(n_classes, 1 / n_classes))
    peer.fit(features[:, :-1], truth)
    found, expected = probe.scores(features).argmax(1), peer.predict(features[:, :-1])
    assert (found == expected).mean() > 0.95
    assert not probe.weights[:, -1].any()  # a feature that is the same everywhere


def test_features_that_say_nothing_do_not_drown_the_others() -> None:
    features, truth = cells_of(80, 4, 100)
    new, expected = cells_of(2000, 4, 100, seed=1)
    found = (fitted_probe(features, truth, 4).scores(new).argmax(1) == expected).mean()
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, truth)
    best = LinearDiscriminantAnalysis().fit(*cells_of(9000, 4, 0, seed=2))
    assert found > peer.score(new, expected) + 0.05
    assert found > best.score(new[:, [0, 1, -1]], expected) - 0.1


def test_a_class_without_cells_never_wins() -> None:
    features = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    probe = fitted_probe(features, np.arange(20) % 2 * 2, 3)
    assert 1 not in probe.scores(features).argmax(1)


def test_a_backbone_of_one_stain_serves_each_of_three() -> None:
    torch.manual_seed(0)
    one, three = build_network("stain_cnn", 2, 1, 2).eval(), build_network("stain_cnn", 2, 3, 5)
    load_pretrained(three.eval(), one.state_dict())
    x = torch.rand(2, 3, 16, 16)

    def described(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        body, describe = network.get_submodule("features"), network.get_submodule("describe")
        return describe(body(images))

    each = torch.cat([described(one, x[:, c : c + 1]) for c in range(3)], 1)
    torch.testing.assert_close(described(three, x), each, atol=1e-6, rtol=1e-5)


def test_a_file_of_weights_needs_the_name_of_its_network(table: CellTable, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_file(build_network("stain_cnn", 2, 1, 2).state_dict(), path)
    with pytest.raises(UsageError, match="network must be named"):
        frozen(backbone=path)
    model: CellModel = train_model(
        table, frozen(backbone=path, network="stain_cnn"), tmp_path / "m", "cpu"
    )
    assert model.spec.network == "stain_cnn"


def test_without_a_backbone_the_way_out_is_named(table: CellTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--backbone FOLDER"):
        train_model(table, frozen(), tmp_path / "m", "cpu")
    with pytest.raises(UsageError, match="frozen: true"):
        changed_recipe(Recipe(), backbone=tmp_path)
