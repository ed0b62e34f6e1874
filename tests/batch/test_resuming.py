"""Runs that go on where an earlier run stopped, and shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batches import HERE, results_of, write_field

from cellcam import CellModel, Request, ThresholdFinder, save_model
from cellcam.batch.images import list_images
from cellcam.batch.items import run_item
from cellcam.batch.job import Job
from cellcam.batch.plan import make_plan, measure_workload
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import UsageError
from cellcam.versions import software_version

Make = Callable[..., CellModel]
AGAIN = "its work is done again: the bytes of a fresh run"


def test_finished_work_is_not_repeated(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellcam.batch.plan._GROUP_IMAGES", 2)
    out = tmp_path / "out"
    run_batch([folder], model, out, resources=HERE)
    before = {path: path.stat().st_mtime_ns for path in (out / "images").rglob("*.tif")}
    assert len(before) == 16
    run_batch([folder], model, out, resources=HERE)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    write_field(folder / "another.tif", 99)
    done = run_batch([folder], model, out, resources=HERE)
    assert done is not None
    assert len(done.outcomes) == 9
    # Only the group that the new image came into is done again.
    kept = sum(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert kept >= 8


@pytest.mark.fault(
    "18 an item that Dask repeats after a worker died", "its files are not written again"
)
def test_an_item_that_dask_repeats_leaves_its_files_alone(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    job = Job.of(Request(), model, tmp_path / "out", "cpu")
    plan = make_plan(list_images([folder], None), job, lambda some: measure_workload(some, job))
    first = run_item(plan.items[0], job, software_version())
    assert first.cells > 0
    before = {path: path.stat().st_mtime_ns for path in job.out.rglob("*.*")}
    assert run_item(plan.items[0], job, software_version()) == first
    assert before == {path: path.stat().st_mtime_ns for path in job.out.rglob("*.*")}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("input", marks=pytest.mark.fault("22 an input changed between runs", AGAIN)),
        pytest.param("copy", marks=pytest.mark.fault("22 the same with size and time kept", AGAIN)),
        pytest.param("request", marks=pytest.mark.fault("23 the request changed", AGAIN)),
        pytest.param("model", marks=pytest.mark.fault("23 the model changed", AGAIN)),
        pytest.param("lost file", marks=pytest.mark.fault("32 a part file is lost", AGAIN)),
        pytest.param("cut file", marks=pytest.mark.fault("33 a part file is truncated", AGAIN)),
    ],
)
def test_changed_work_is_done_again(
    folder: Path, model: Path, make_model: Make, tmp_path: Path, change: str
) -> None:
    out, request = tmp_path / "out", Request()
    path = folder / "plate0" / "x_B01_s0.tif"
    path.write_bytes(path.read_bytes() + bytes(10_000))  # TIFF readers pass over it
    run_batch([folder], model, out, request, resources=HERE)
    if change == "input":
        write_field(folder / "plate0" / "x_B01_s0.tif", 77)
    elif change == "copy":
        state = path.stat()
        write_field(path, 77)
        path.write_bytes(path.read_bytes().ljust(state.st_size, b"\0"))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert path.stat().st_size == state.st_size
    elif change == "request":
        request = Request(finder=ThresholdFinder(threshold=180.0))
    elif change == "model":
        save_model(make_model(crop_size=(24, 24), finding={"channel": "DNA"}), model)
    elif change == "lost file":
        (out / "images" / "plate0" / "x_B01_s0.labels.ome.tif").unlink()
    else:
        os.truncate(out / "images" / "plate0" / "x_B01_s0.cells.parquet", 100)
    run_batch([folder], model, out, request, resources=HERE)
    run_batch([folder], model, tmp_path / "fresh", request, resources=HERE)
    assert results_of(out) == results_of(tmp_path / "fresh")


@pytest.mark.fault("work split over three shards", "the same bytes as in one run")
def test_shards_make_the_same_result(folder: Path, model: Path, tmp_path: Path) -> None:
    run_batch([folder], model, tmp_path / "whole", resources=HERE)
    for i in range(3):
        resources = Resources(shard=(i, 3), device="cpu")
        assert run_batch([folder], model, tmp_path / "sharded", resources=resources) is None
    run_batch([folder], model, tmp_path / "sharded", resources=HERE)
    assert results_of(tmp_path / "sharded") == results_of(tmp_path / "whole")


def test_one_run_at_a_time(folder: Path, model: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out" / "parts").mkdir(parents=True)
    with (
        FileLock(tmp_path / "out" / "parts" / "run.lock"),
        pytest.raises(UsageError, match="Another run"),
    ):
        run_batch([folder], model, tmp_path / "out", resources=HERE)
