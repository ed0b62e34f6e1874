"""--out that cannot be a folder, in every command: wrong usage, said before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command_line import command_here

from cellcam import InputError, samples
from cellcam.batch.records import Outcome, failure_lines
from cellcam.errors import UsageError
from cellcam.stacks.writing import check_name, whole_file, writable_folder

STACK = samples.sample_path(samples.DEMO_STACK)
MODEL = samples.sample_path(samples.DEMO_MODEL)
COMMANDS = {
    "demo": [],
    "explain": [STACK, "--model", MODEL],
    "batch": [STACK, "--model", MODEL],
    "train": ["cells.csv"],
    "evaluate": ["cells.csv", "--model", MODEL],
    "benchmark": ["planted"],
}


@pytest.mark.fault("--out is a file", "wrong usage: exit status 1, and which path it is")
@pytest.mark.parametrize("below", ["", "further/down"])
@pytest.mark.parametrize("command", COMMANDS)
def test_out_that_is_a_file(tmp_path: Path, command: str, below: str) -> None:
    (tmp_path / "results").write_text("precious")
    done = command_here(command, *COMMANDS[command], "--out", tmp_path / "results" / below)
    assert done.returncode == 1
    assert f"{tmp_path / 'results'} is a file" in done.stderr
    assert (tmp_path / "results").read_text() == "precious"


@pytest.mark.fault("export to a path that is a folder", "wrong usage: exit status 1")
def test_export_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.ome.tif").mkdir()
    done = command_here("export", tmp_path / "maps.ome.zarr", tmp_path / "a.ome.tif")
    assert done.returncode == 1
    assert "is a folder; a file is to be written" in done.stderr


def test_folders_that_are_there_or_can_be_made_are_fine(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "new" / "deeper", Path("relative")):
        assert writable_folder(path) == path
    assert not (tmp_path / "new").exists()


@pytest.mark.fault("25 read-only --out", "wrong usage, said before any work")
def test_a_folder_that_must_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        writable_folder(tmp_path / "new")


def test_names_that_leave_no_room_for_endings(tmp_path: Path) -> None:
    check_name(tmp_path, "plate/" + "x" * 200)
    with pytest.raises(InputError, match="shorten"):
        check_name(tmp_path, "x" * 240)
    with pytest.raises(InputError, match="shorten"):
        check_name(tmp_path, "µ" * 120)
    longest = "x" * (255 - len(".1234567.") - len(".labels.ome.zarr"))
    check_name(tmp_path, longest)
    with whole_file(tmp_path / f"{longest}.labels.ome.zarr") as temporary:
        temporary.write_text("fits")


def test_images_with_the_same_reason_share_a_line() -> None:
    failed = [
        Outcome(f"p/i{i}", "refused", f"/data/p/i{i}.tif does not say what its axes mean: --axes.")
        for i in range(6)
    ]
    failed.append(Outcome("p/other", "failed", "It is something else."))
    assert list(failure_lines(failed)) == [
        "refused: p/i0: /data/p/i0.tif does not say what its axes mean: --axes.",
        "  The same reason: p/i1, p/i2, p/i3 and 2 more.",
        "failed: p/other: It is something else.",
    ]
    assert list(failure_lines(failed, most=1))[-1] == "1 further reasons are in images.csv."
