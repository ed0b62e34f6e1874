"""The command line as people run it: a process each, where that matters."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from support.command_line import command_here

from cellcam import information, samples

DEMO_STACK = samples.sample_path(samples.DEMO_STACK)
DEMO_MODEL = samples.sample_path(samples.DEMO_MODEL)


def cellcam(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cellcam", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_demo(tmp_path: Path) -> None:
    done = cellcam("demo", "--json", "--device", "cpu", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    truth = said["truth"]
    assert truth["n_found"] >= 0.95 * truth["n_cells"]
    assert truth["n_correct"] >= 0.8 * truth["n_found"]
    assert truth["on_evidence"] > 3 * truth["by_chance"]
    assert all((tmp_path / path).is_file() for path in said["written"])


def test_the_demo_speaks_to_people(tmp_path: Path) -> None:
    done = command_here("demo", "--out", tmp_path / "results")
    assert "times chance" in done.stdout
    assert str(tmp_path / "results" / "demo_cells.maps.ome.tif") in done.stdout
    assert done.stdout.endswith(f"Open {tmp_path / 'results' / 'demo_cells.overview.png'}.\n")


def test_explain_with_options(tmp_path: Path) -> None:
    done = command_here(
        "explain", DEMO_STACK, "--model", DEMO_MODEL, "--out", tmp_path, "--json",
        "--classes", "mitotic,foci", "--labels", samples.sample_path(samples.DEMO_LABELS),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    maps = tifffile.imread(tmp_path / "demo_cells.maps.ome.tif")
    assert maps.shape == (2, 448, 448)
    truth = pd.read_csv(samples.sample_path(samples.DEMO_TRUTH))
    cells = pd.read_csv(tmp_path / "demo_cells.cells.csv")
    assert len(cells) == len(truth)
    assert (cells["class"] == truth["cls"]).mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "nowhere.tif", "--model", DEMO_MODEL, "--out", "x"], "no file nowhere.tif"),
        (["explain", DEMO_STACK, "--model", ".", "--out", "x"], "no CellCam model"),
        (["explain", DEMO_STACK, "--model", "nowhere", "--out", "x"], "There is no folder nowhere"),
        (["explain", DEMO_STACK, "--model", DEMO_STACK, "--out", "x"], "model is a folder"),
        (["explain", DEMO_STACK, "--model", DEMO_MODEL, "--out", "x", "--channels", "a,b,c"],
         "The model wants the channels DNA, tubulin, marker"),
        (["explain", DEMO_STACK, "--model", DEMO_MODEL, "--out", "x", "--classes", "wrong"],
         "asters, foci"),
        (["explain", DEMO_STACK, "--model", DEMO_MODEL, "--out", "x", "--device", "cuda:9"],
         "cannot be used here"),
        (["batch", DEMO_STACK, "--model", DEMO_MODEL, "--out", "x", "--engine", "tensorrt"],
         "Choose one of torch, openvino"),
        (["info", "nowhere.tif"], "no file nowhere.tif"),
        (["train", "nowhere.csv", "--out", "x"], "no cell table nowhere.csv"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_leave_nothing_behind(
    tmp_path: Path, arguments: list[object], message: str
) -> None:
    done = command_here(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("cellcam: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", DEMO_STACK, "--model", "nowhere", "--out", "x"], "There is no folder nowhere"),
        (["explain", "--no-such-option"], "no-such-option"),
    ],
)
def test_machines_get_errors_as_json(tmp_path: Path, arguments: list[object], message: str) -> None:
    done = command_here(*arguments, "--json", folder=tmp_path)
    said = json.loads(done.stdout)
    assert message in said["error"]
    assert said["status"] == done.returncode == 1
    assert message in done.stderr


def test_a_channel_that_must_be_named_is_asked_for_as_it_is_typed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, model)
    description = model / "configs" / "inference.json"
    content = json.loads(description.read_text())
    content["finding"] = None
    description.write_text(json.dumps(content))
    done = command_here("explain", DEMO_STACK, "--model", model, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "channels DNA, tubulin, marker" in done.stderr
    assert "--find-channel DNA" in done.stderr


def test_wrong_usage_ends_with_status_one(tmp_path: Path) -> None:
    done = cellcam("explain", "--no-such-option", folder=tmp_path)
    assert done.returncode == 1
    assert "no-such-option" in done.stderr


@pytest.mark.fault("Ctrl-C in any command", "status 3, and one line")
def test_an_interrupt_ends_every_command_with_status_three(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(information, "about_machine", interrupt)
    done = command_here("info")
    assert done.returncode == 3
    assert done.stderr == "cellcam: stopped before the end; the same command begins again.\n"


def test_info_about_machine_image_and_model() -> None:
    assert json.loads(command_here("info", "--json").stdout)["torch"]
    image = json.loads(command_here("info", DEMO_STACK, "--json").stdout)
    assert image["channels"] == "DNA, tubulin, marker"
    model = json.loads(command_here("info", DEMO_MODEL, "--json").stdout)
    assert model["sees"] == "max"
    assert model["finds cells in"] == "DNA"


def test_train_then_explain(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bright = np.arange(40) % 2
    crops = random.poisson(50 + 100 * bright[:, None, None, None], (40, 1, 16, 16))
    tifffile.imwrite(tmp_path / "crops.tif", crops.astype(np.uint8), metadata={"axes": "QCYX"})
    cells = {"image": "crops.tif", "index": range(40), "phase": np.array(["dim", "bright"])[bright]}
    pd.DataFrame(cells).to_csv(tmp_path / "cells.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"epochs": 3, "batch_size": 8}))
    done = cellcam(
        "train", "cells.csv", "--out", "model", "--class-column", "phase", "--recipe",
        "recipe.yaml", "--channels", "H2B", "--device", "cpu", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout
    y, x = np.mgrid[:64, :64]
    field = random.poisson(20 + 100 * (np.hypot(y - 32, x - 32) < 8)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "field.tif", field)
    done = command_here("explain", "field.tif", "--model", "model", "--out", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "field.cells.csv")) == 1


@pytest.mark.fault(
    "30 figures in a model folder that make no sense", "the model is described without them"
)
@pytest.mark.parametrize(
    "validation", [[], {"ece": 1}, {"balanced_accuracy": "1", "ece": 0.1, "n": 3}, {"n": None}]
)
def test_figures_of_a_foreign_model_are_not_trusted(tmp_path: Path, validation: object) -> None:
    from cellcam.information import about_model

    shutil.copytree(DEMO_MODEL, tmp_path / "model")
    description = tmp_path / "model" / "configs" / "inference.json"
    content = json.loads(description.read_text())
    content["training"]["validation"] = validation
    description.write_text(json.dumps(content))
    assert str(about_model(tmp_path / "model")["validation"]).startswith("not ")


@pytest.mark.fault("a file whose name looks like an option", "said how to write it")
def test_a_file_named_like_an_option(tmp_path: Path) -> None:
    (tmp_path / "-a.tif").write_bytes(b"")
    done = command_here("info", "-a.tif", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("write ./-a.tif")
