"""The measures of the training cells in a model folder: kept, checked, never believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cellcam_training.fitting.training_cells import known_cells
from safetensors.numpy import load, save
from support.models import knowing_other_cells, untrained_model

from cellcam import load_model
from cellcam.errors import ModelError
from cellcam.models.bundle import SPEC, save_model
from cellcam.models.training_cells_file import TRAINING_CELLS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(knowing_other_cells(untrained_model()), tmp_path / "model")
    return tmp_path / "model"


def crops(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (n, 2, 16, 16)).astype(np.uint16)


def test_a_saved_model_measures_the_same(folder: Path) -> None:
    before = knowing_other_cells(untrained_model()).unlike(crops())
    after = load_model(folder).unlike(crops())
    np.testing.assert_array_equal(before.values, after.values)
    assert before.differs == after.differs


def test_a_folder_of_an_older_version_opens(tmp_path: Path) -> None:
    save_model(untrained_model(), tmp_path / "old")
    model = load_model(tmp_path / "old")
    assert model.training_cells is None
    assert np.isnan(model.unlike(crops()).values).all()


def rewritten(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], folder: Path):
    """Replace the file and state its hash, as an attacker would."""
    content = save(change(load((folder / TRAINING_CELLS).read_bytes())))
    (folder / TRAINING_CELLS).write_bytes(content)
    spec = json.loads((folder / SPEC).read_text())
    spec["known_cells"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / SPEC).write_text(json.dumps(spec))


@pytest.mark.fault(
    "30 measures of a model's training cells: missing, changed, of another shape, NaN", "refused"
)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {"reference": t["reference"]}, "no file of measures"),
        (lambda t: t | {"reference": t["reference"][:, :1].copy()}, "does not fit"),
        (lambda t: t | {"reference": t["reference"] * np.float32("nan")}, "does not fit"),
        (lambda t: t | {"whitening": t["whitening"].astype(np.float64)}, "does not fit"),
        (lambda t: t | {"reference": t["reference"][:0].copy()}, "does not fit"),
    ],
)
def test_measures_that_do_not_fit_are_refused(folder: Path, change, said: str) -> None:
    rewritten(change, folder)
    with pytest.raises(ModelError, match=said):
        load_model(folder)


def test_a_changed_or_missing_file_is_refused(folder: Path) -> None:
    path = folder / TRAINING_CELLS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="sha256 differs"):
        load_model(folder)
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        load_model(folder)


def test_a_training_that_goes_on_still_knows_the_earlier_cells() -> None:
    model = untrained_model()
    first, second = crops(60), (crops(60) // 8 + 3000).astype(np.uint16)
    earlier = known_cells(model, first, np.arange(60))
    both = known_cells(model, second, np.arange(60), earlier)
    assert (model.with_training_cells(both).unlike(first).values < 1).mean() > 0.95
    alone = known_cells(model, second, np.arange(60))
    assert (model.with_training_cells(alone).unlike(first).values > 1).all()
