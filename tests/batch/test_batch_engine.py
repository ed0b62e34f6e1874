"""The engine of a batch: chosen once, never mixed, said in run.json."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.batches import HERE, results_of

from cellcam import Request
from cellcam.batch.merge import BatchResult
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import UsageError

CALLS = Request(explained=0)
OPENVINO = replace(HERE, engine="openvino")
with_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO, the extra 'openvino', is not installed"
)


def run(folder: Path, model: Path, out: Path, resources: Resources = HERE) -> BatchResult:
    done = run_batch([folder], model, out, CALLS, resources=resources)
    assert done is not None
    return done


def engine_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())["engine"]


def probabilities(out: Path) -> pd.DataFrame:
    cells = pd.read_parquet(out / "cells.parquet").set_index(["image", "label"])
    return cells[[column for column in cells if column.startswith("p_")]]


@with_openvino
def test_openvino_calls_a_batch_only_if_it_is_asked_for(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    run(folder, model, tmp_path / "usual")
    assert engine_in(tmp_path / "usual")["name"] == "torch"
    run(folder, model, tmp_path / "named", OPENVINO)
    assert engine_in(tmp_path / "named")["name"] == "openvino"
    assert engine_in(tmp_path / "named")["version"][0].isdigit()
    difference = probabilities(tmp_path / "named") - probabilities(tmp_path / "usual")
    assert 0 < np.abs(difference.to_numpy()).max() < 1e-5


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
def test_results_of_another_engine_are_replaced(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, model, out)
    before = results_of(out)
    done = run(folder, model, out, OPENVINO)
    assert "its results were replaced" in " ".join(done.earlier)
    run(folder, model, tmp_path / "fresh", OPENVINO)
    assert results_of(out) == results_of(tmp_path / "fresh") != before


@with_openvino
def test_a_lost_file_is_computed_again_by_openvino(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(folder, model, out, OPENVINO)
    before = results_of(out)
    (out / "images" / "plate0" / "x_B01_s0.labels.ome.tif").unlink()
    run(folder, model, out, OPENVINO)
    assert results_of(out) == before


@with_openvino
def test_a_network_that_openvino_cannot_run_stops_the_batch_before_any_work(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("No conversion rule\nfor that")

    run(folder, model, tmp_path / "out")
    before = results_of(tmp_path / "out")
    monkeypatch.setattr("cellcam.models.openvino_engine._compiled", refuse)
    with pytest.raises(UsageError, match="RuntimeError: No conversion rule"):
        run(folder, model, tmp_path / "out", OPENVINO)
    assert results_of(tmp_path / "out") == before


def test_without_openvino_the_extra_is_named(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellcam.models.engine_choice.is_installed", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'cellcam\[openvino\]'"):
        run(folder, model, tmp_path / "named", OPENVINO)
    assert not (tmp_path / "named").exists()
