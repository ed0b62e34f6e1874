"""Model folders that cannot be used, in every command: refused once, in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.batches import write_field
from support.command_line import command_here
from support.damaged_models import DAMAGES, as_anybody
from support.models import knowing_other_cells, untrained_model

from cellcam import load_model, save_model
from cellcam.errors import ModelError

CLASSES = ["G1", "S", "M"]
COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "info": lambda given: ["info", given / "model"],
    "explain": lambda given: [
        "explain", given / "in" / "a.tif", "--model", given / "model", "--out", given / "new/out",
    ],
    "batch": lambda given: [
        "batch", given / "in", "--model", given / "model", "--out", given / "new/out",
        "--scheduler", "sync",
    ],
    "evaluate": lambda given: [
        "evaluate", given / "in" / "cells.csv", "--model", given / "model",
        "--out", given / "new/out",
    ],
    "train": lambda given: [
        "train", given / "in" / "cells.csv", "--start-from", given / "model",
        "--out", given / "new/out",
    ],
}  # fmt: skip
CASES = [
    pytest.param(
        damage,
        id=name,
        marks=pytest.mark.fault(
            f"30 {fault}",
            "each command: one line that says where, and what to do; status 1; nothing written",
        ),
    )
    for fault, damages in DAMAGES.items()
    for name, damage in damages.items()
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an image that it fits, and a table of its cells."""
    folder = tmp_path_factory.mktemp("given")
    finding = {"channel": "DNA", "diameter_um": 7}
    model = untrained_model(finding=finding, pixel_size_um=(0.5, 0.5))
    save_model(knowing_other_cells(model), folder / "model")
    write_field(folder / "in" / "a.tif", 0)
    places = [20, 30, 40, 50, 60, 70]
    cells = {"image": ["a.tif"] * 6, "x": places, "y": places, "cls": CLASSES * 2}
    pd.DataFrame(cells).to_csv(folder / "in" / "cells.csv", index=False)
    return folder


@pytest.fixture
def given(whole: Path, tmp_path: Path) -> Path:
    """A copy of them to damage."""
    shutil.copytree(whole, tmp_path / "given")
    return tmp_path / "given"


@pytest.mark.parametrize("command", ["info", "explain", "batch", "evaluate"])
def test_the_whole_model_can_be_used(given: Path, command: str) -> None:
    assert command_here(*COMMANDS[command](given)).returncode == 0


@pytest.mark.parametrize("damage", CASES)
def test_each_command_refuses_a_damaged_model_in_one_line(
    given: Path, damage: Callable[[Path], object]
) -> None:
    damage(given / "model")
    before = sorted(given.rglob("*"))
    for command in COMMANDS.values():
        with as_anybody():
            done = command_here(*command(given), folder=given)
        assert done.returncode == 1
        lines = done.stderr.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("cellcam: ")
        assert str(given / "model") in lines[0] or "'--model'" in lines[0]
        assert lines[0].endswith(".")
        # The canary of a pickle would be in this folder, too.
        assert sorted(given.rglob("*")) == before
    with as_anybody(), pytest.raises(ModelError):
        load_model(given / "model", "cpu")
