"""The engine of a batch: chosen once, never mixed, said in run.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.batches import HERE, results_of

from cellcam import CellModel, Request, save_model
from cellcam.batch.merge import BatchResult
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import UsageError

Make = Callable[..., CellModel]
CALLS = Request(explained=0)
TORCH, OPENVINO = replace(HERE, engine="torch"), replace(HERE, engine="openvino")
with_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO, the extra 'openvino', is not installed"
)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small images are large enough for a conversion, and the processor is a suitable one."""
    monkeypatch.setattr("cellcam.models.engine_choice._WORTHWHILE_BYTES", 0)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")


def run(folder: Path, model: Path, out: Path, resources: Resources = HERE) -> BatchResult:
    done = run_batch([folder], model, out, CALLS, resources=resources)
    assert done is not None
    return done


def engine_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())["engine"]


def probabilities(out: Path) -> pd.DataFrame:
    cells = pd.read_parquet(out / "cells.parquet").set_index(["image", "label"])
    return cells[[column for column in cells if column.startswith("p_")]]


def test_a_small_batch_needs_no_conversion(folder: Path, model: Path, tmp_path: Path) -> None:
    done = run(folder, model, tmp_path / "out")
    assert not done.earlier
    assert engine_in(tmp_path / "out")["name"] == "torch"


@with_openvino
@pytest.mark.usefixtures("large")
def test_a_large_batch_is_called_by_openvino(folder: Path, model: Path, tmp_path: Path) -> None:
    run(folder, model, tmp_path / "torch", TORCH)
    run(folder, model, tmp_path / "auto")
    assert engine_in(tmp_path / "auto")["name"] == "openvino"
    assert engine_in(tmp_path / "auto")["version"][0].isdigit()
    difference = probabilities(tmp_path / "auto") - probabilities(tmp_path / "torch")
    assert 0 < np.abs(difference.to_numpy()).max() < 1e-5
    run(folder, model, tmp_path / "named", OPENVINO)
    assert results_of(tmp_path / "named") == results_of(tmp_path / "auto")


@with_openvino
def test_probabilities_do_not_depend_on_the_parts_of_a_batch(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, model, tmp_path / "groups", OPENVINO)
    monkeypatch.setattr("cellcam.batch.plan._GROUP_IMAGES", 1)
    run(folder, model, tmp_path / "alone", OPENVINO)
    assert results_of(tmp_path / "alone") == results_of(tmp_path / "groups")
    for i in range(3):
        resources = Resources(shard=(i, 3), device="cpu", engine="openvino")
        assert run_batch([folder], model, tmp_path / "shards", CALLS, resources=resources) is None
    run(folder, model, tmp_path / "shards", OPENVINO)
    assert results_of(tmp_path / "shards") == results_of(tmp_path / "groups")


@with_openvino
@pytest.mark.usefixtures("large")
def test_on_a_processor_that_was_not_measured_a_large_batch_is_called_by_torch(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    done = run(folder, model, tmp_path / "auto")
    assert engine_in(tmp_path / "auto")["name"] == "torch"
    assert "which this processor lacks" in " ".join(done.earlier)
    run(folder, model, tmp_path / "named", OPENVINO)
    assert engine_in(tmp_path / "named")["name"] == "openvino"


@with_openvino
@pytest.mark.usefixtures("large")
def test_a_run_goes_on_with_the_engine_of_the_earlier_run(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(folder, model, out, TORCH)
    before = results_of(out)
    lost = out / "images" / "plate0" / "x_B01_s0.labels.ome.tif"
    lost.unlink()
    done = run(folder, model, out)
    assert results_of(out) == before
    assert engine_in(out)["name"] == "torch"
    assert "as in the earlier run in this folder" in " ".join(done.earlier)
    # By name, another engine replaces the results.
    done = run(folder, model, out, OPENVINO)
    assert "its results were replaced" in " ".join(done.earlier)
    run(folder, model, tmp_path / "fresh", OPENVINO)
    assert results_of(out) == results_of(tmp_path / "fresh") != before


@with_openvino
@pytest.mark.usefixtures("large")
def test_another_model_chooses_anew(
    folder: Path, model: Path, make_model: Make, tmp_path: Path
) -> None:
    run(folder, model, tmp_path / "out", TORCH)
    save_model(make_model(crop_size=(24, 24), finding={"channel": "DNA"}), model)
    run(folder, model, tmp_path / "out")
    assert engine_in(tmp_path / "out")["name"] == "openvino"


@with_openvino
@pytest.mark.usefixtures("large")
def test_a_network_that_openvino_cannot_run_is_called_by_torch(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("No conversion rule\nfor that")

    monkeypatch.setattr("cellcam.models.openvino_engine._compiled", refuse)
    done = run(folder, model, tmp_path / "out")
    assert engine_in(tmp_path / "out")["name"] == "torch"
    assert "RuntimeError: No conversion rule" in engine_in(tmp_path / "out")["reason"]
    assert "RuntimeError: No conversion rule" in " ".join(done.earlier)
    with pytest.raises(UsageError, match="No conversion rule"):
        run(folder, model, tmp_path / "named", OPENVINO)


@pytest.mark.usefixtures("large")
def test_without_openvino_torch_calls_and_the_reason_is_kept(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("models.engine_choice", "batch.engine"):
        monkeypatch.setattr(f"cellcam.{module}.is_installed", lambda: False)
    done = run(folder, model, tmp_path / "out")
    assert engine_in(tmp_path / "out")["reason"] == "OpenVINO is not installed"
    assert not done.earlier
    with pytest.raises(UsageError, match=r'pip install "cellcam\[openvino\]"'):
        run(folder, model, tmp_path / "named", OPENVINO)
    assert not (tmp_path / "named").exists()
