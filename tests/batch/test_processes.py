"""Faults of a real cluster of processes: kills, interrupts, a full disk, a lost scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.batches import (
    DEADLY,
    FULL_DISK,
    cellcam,
    dask_cluster,
    ended,
    names_that_end_groups,
    results_of,
    wait_until,
    write_field,
)

N_IMAGES = 12


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Images that are one item each."""
    for i, name in enumerate(names_that_end_groups(N_IMAGES)):
        write_field(tmp_path / "many" / f"{name}.tif", i)
    return tmp_path / "many"


@pytest.fixture
def expected(many: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """Results of an undisturbed run, with two threads where the workers have one."""
    run_here(many, model, tmp_path / "undisturbed")
    return results_of(tmp_path / "undisturbed")


def run_here(many: Path, model: Path, out: Path) -> None:
    command = ("batch", many, "--model", model, "--scheduler", "sync", "--device", "cpu")
    code, _, stderr = ended(cellcam(*command, "--out", out, env={"OMP_NUM_THREADS": "2"}))
    assert code == 0, stderr


def start(many: Path, model: Path, out: Path, **options: Any) -> subprocess.Popen[str]:
    return cellcam(
        "batch", many, "--model", model, "--out", out, "--workers", 2, "--device", "cpu",
        "--json", **options,
    )  # fmt: skip


def is_at_work(out: Path) -> bool:
    """Whether an item is being worked on."""
    running = out / "parts" / "running"
    return running.is_dir() and any(running.iterdir())


def n_records(out: Path) -> int:
    """How many items are done."""
    return len(list((out / "parts").glob("??/*.json")))


@pytest.mark.fault(
    "19 SIGKILL of driver and workers at three moments",
    "the same command gives the same bytes as an undisturbed run",
)
def test_kills_at_any_moment_change_no_byte(
    many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    for done in (0, 3, 8):
        run = start(many, model, out, start_new_session=True)
        wait_until(lambda done=done: is_at_work(out) and n_records(out) >= done)  # type: ignore[misc]
        os.killpg(run.pid, signal.SIGKILL)
        ended(run)
        assert not (out / "cells.parquet").exists()
    code, _, stderr = ended(start(many, model, out))
    assert code == 0, stderr
    assert results_of(out) == expected
    assert not [path for path in out.rglob(".*") if path.is_file()]


@pytest.mark.fault(
    "18 an image that kills every worker", "one failed row; all others done; status 2"
)
def test_an_image_that_kills_its_worker_is_one_failed_row(
    many: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(DEADLY)
    path = os.pathsep.join([str(tmp_path / "hooks"), os.environ.get("PYTHONPATH", "")])
    os.rename(sorted(many.iterdir())[7], many / "deadly.tif")
    code, stdout, stderr = ended(start(many, model, tmp_path / "out", env={"PYTHONPATH": path}))
    assert code == 2, stderr
    result = json.loads(stdout)
    assert list(result["failed"]) == ["deadly"]
    assert "died every time" in result["failed"]["deadly"]
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert (images["status"] == "done").sum() == 11


def test_an_interrupt_ends_with_status_three_and_can_be_resumed(
    many: Path, model: Path, tmp_path: Path
) -> None:
    run = start(many, model, tmp_path / "out")
    wait_until(lambda: is_at_work(tmp_path / "out"))
    run.send_signal(signal.SIGINT)
    code, _, stderr = ended(run)
    assert code == 3, stderr
    assert "give the same command again" in stderr
    assert ended(start(many, model, tmp_path / "out"))[0] == 0


@pytest.mark.fault(
    "25 the disk is full after some files",
    "status 3, no half file; the same command gives the same bytes",
)
def test_a_full_disk_ends_with_status_three_and_can_be_resumed(
    many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(FULL_DISK)
    path = os.pathsep.join([str(tmp_path / "hooks"), os.environ.get("PYTHONPATH", "")])
    command = ("batch", many, "--model", model, "--scheduler", "sync", "--device", "cpu")
    full = cellcam(*command, "--out", tmp_path / "full", env={"PYTHONPATH": path})
    code, _, stderr = ended(full)
    assert code == 3, stderr
    assert "no space left" in stderr
    assert "Free some, and give the same command again" in stderr
    assert not (tmp_path / "full" / "cells.parquet").exists()
    assert not [p for p in (tmp_path / "full").rglob(".*") if p.is_file()]
    run_here(many, model, tmp_path / "full")
    assert results_of(tmp_path / "full") == expected


@pytest.mark.fault(
    "34 the scheduler dies in the middle of a run",
    "status 3; the same command gives the same bytes",
)
def test_a_cluster_that_exists_and_then_is_lost(
    many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    address = tmp_path / "scheduler.json"
    with dask_cluster(address) as scheduler:
        command = ("batch", many, "--model", model, "--scheduler", address, "--device", "cpu")
        code, _, stderr = ended(cellcam(*command, "--out", tmp_path / "cluster"))
        assert code == 0, stderr
        assert results_of(tmp_path / "cluster") == expected

        run = cellcam(*command, "--out", tmp_path / "lost")
        wait_until(lambda: is_at_work(tmp_path / "lost"))
        scheduler.kill()
        code, _, stderr = ended(run)
        assert code == 3, stderr
        assert "The scheduler was lost" in stderr
    run_here(many, model, tmp_path / "lost")
    assert results_of(tmp_path / "lost") == expected
