"""Faults of a real cluster of processes: kills, interrupts, a full disk, a lost scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from support.batches import (
    BROKEN_GPU,
    DEADLY,
    FULL_DISK,
    HUNGRY,
    OTHER_TORCH,
    cellcam,
    dask_cluster,
    ended,
    hooked,
    names_that_end_groups,
    results_of,
    wait_until,
    write_field,
)

from cellcam import open_stack
from cellcam.stacks.writing import write_ome_tiff

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
    os.rename(sorted(many.iterdir())[7], many / "deadly.tif")
    hooks = hooked(tmp_path / "hooks", DEADLY)
    code, stdout, stderr = ended(start(many, model, tmp_path / "out", env=hooks))
    assert code == 2, stderr
    result = json.loads(stdout)
    assert list(result["failed"]) == ["deadly"]
    assert "died every time" in result["failed"]["deadly"]
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert (images["status"] == "done").sum() == 11


@pytest.mark.fault(
    "18 SIGKILL of a worker that did nothing wrong", "started anew; the bytes of a calm run"
)
def test_a_worker_that_is_killed_costs_nothing(
    many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(many, model, out)
    wait_until(lambda: is_at_work(out) and n_records(out) >= 2)
    children = psutil.Process(run.pid).children(recursive=True)
    # Each worker has loaded the network; multiprocessing's helpers have not.
    workers = [child for child in children if child.memory_info().rss > 150 * 2**20]
    workers[0].kill()
    code, _, stderr = ended(run)
    assert code == 0, stderr
    assert results_of(out) == expected


@pytest.mark.fault(
    "28 the GPU fails at one image, and then at everything (illegal address)",
    "its worker is started anew; that image is one failed row",
)
def test_a_broken_gpu_costs_one_image(many: Path, model: Path, tmp_path: Path) -> None:
    bad = sorted(many.iterdir())[4]
    stack = open_stack(bad)
    pixels = np.array(stack.data)
    pixels[..., 40:44, 40:44] = 54321
    write_ome_tiff(many / bad.name, pixels, stack.channels, stack.pixel_size_um)
    hooks = hooked(tmp_path / "hooks", BROKEN_GPU)
    code, stdout, stderr = ended(start(many, model, tmp_path / "out", env=hooks))
    assert code == 2, stderr
    assert list(json.loads(stdout)["failed"]) == [bad.stem]
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert (images["status"] == "done").sum() == N_IMAGES - 1


@pytest.mark.fault(
    "28 the GPU fails in a run without workers", "status 3: stopped at once, with the way out"
)
def test_a_broken_gpu_of_this_process_stops_the_run(
    many: Path, model: Path, tmp_path: Path
) -> None:
    stack = open_stack(sorted(many.iterdir())[0])
    pixels = np.array(stack.data)
    pixels[..., 40:44, 40:44] = 54321
    write_ome_tiff(sorted(many.iterdir())[0], pixels, stack.channels, stack.pixel_size_um)
    command = ("batch", many, "--model", model, "--out", tmp_path / "out", "--scheduler", "sync")
    hooks = hooked(tmp_path / "hooks", BROKEN_GPU)
    code, _, stderr = ended(cellcam(*command, "--device", "cpu", env=hooks))
    assert code == 3, stderr
    assert "The GPU is in an error state" in stderr
    assert "leave that out" in stderr


@pytest.mark.fault(
    "26 an image that needs more memory than there is", "one failed row that says what to do"
)
def test_an_image_without_room_is_one_failed_row(many: Path, model: Path, tmp_path: Path) -> None:
    os.rename(sorted(many.iterdir())[7], many / "hungry.tif")
    hooks = hooked(tmp_path / "hooks", HUNGRY)
    code, stdout, stderr = ended(start(many, model, tmp_path / "out", env=hooks))
    assert code == 2, stderr
    failed = json.loads(stdout)["failed"]
    assert list(failed) == ["hungry"]
    assert "not enough memory" in failed["hungry"]
    assert "--workers" in failed["hungry"]


@pytest.mark.fault("21 a second run in the folder of one that works", "refused; the first goes on")
def test_a_second_run_is_refused(
    many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    first = start(many, model, tmp_path / "out")
    wait_until(lambda: is_at_work(tmp_path / "out"))
    code, _, stderr = ended(start(many, model, tmp_path / "out"))
    assert code == 1
    assert "Another run works in" in stderr
    assert ended(first)[0] == 0
    assert results_of(tmp_path / "out") == expected


@pytest.mark.fault("35 a worker with another torch", "refused before any work, with both versions")
def test_workers_with_other_packages_are_refused(many: Path, model: Path, tmp_path: Path) -> None:
    address = tmp_path / "scheduler.json"
    with dask_cluster(address, hooked(tmp_path / "hooks", OTHER_TORCH)):
        command = ("batch", many, "--model", model, "--scheduler", address, "--device", "cpu")
        code, _, stderr = ended(cellcam(*command, "--out", tmp_path / "out"))
    assert code == 1, stderr
    assert "torch 1.0.0, this is torch" in stderr
    assert "Install the same versions everywhere" in stderr
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.fault(
    "20 SIGINT, SIGTERM, and the signal of SLURM before time is up",
    "status 3 with the way out; the same command goes on",
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupt_ends_with_status_three_and_can_be_resumed(
    many: Path, model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = start(many, model, tmp_path / "out")
    wait_until(lambda: is_at_work(tmp_path / "out"))
    run.send_signal(number)
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
    hooks = hooked(tmp_path / "hooks", FULL_DISK)
    command = ("batch", many, "--model", model, "--scheduler", "sync", "--device", "cpu")
    full = cellcam(*command, "--out", tmp_path / "full", env=hooks)
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
