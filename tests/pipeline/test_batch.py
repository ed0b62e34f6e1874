"""Many stacks to one result; runs are real, with real processes where these matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellcam import CellModel, Stack, explain_field, load_model, open_stack, save_model
from cellcam.errors import UsageError
from cellcam.pipeline.batch import How, run_batch
from cellcam.pipeline.choices import Choices, Job
from cellcam.pipeline.inputs import list_images
from cellcam.pipeline.merging import Merged
from cellcam.pipeline.planning import look_at, make_plan
from cellcam.pipeline.running import run_item
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff
from cellcam.versions import code_version

Make = Callable[..., CellModel]
HERE = How("sync", device="cpu")
PIXEL = PixelSize(None, 0.5, 0.5)


def field_of_discs(seed: int, shape: tuple[int, int] = (96, 96), n: int = 6) -> Stack:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = np.full((2, *shape), 100.0)
    for cy, cx in random.uniform(0, shape, (n, 2)):
        disc = np.hypot(y - cy, x - cx) < random.uniform(5, 8)
        pixels[:, disc] = np.array([[400.0], [250.0]])
    return Stack.from_array(random.poisson(pixels).astype(np.uint16), "CYX", ["DNA", "actin"])


@pytest.fixture
def model(make_model: Make, tmp_path: Path) -> Path:
    finding = {"channel": "DNA", "diameter_um": 7}
    save_model(make_model(finding=finding), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        write_field(tmp_path / "images" / f"plate{i % 2}" / f"x_B0{i + 1}_s{i % 3}.tif", i)
    return tmp_path / "images"


def write_field(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = field_of_discs(seed)
    write_ome_tiff(path, np.asarray(stack.data), stack.channels, PIXEL)


def results_of(out: Path) -> dict[str, bytes]:
    """Every table, map and label image of a run."""
    kept = [*out.glob("*.csv"), *out.glob("*.parquet"), *(out / "images").rglob("*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.is_file()}


def cellcam(
    *arguments: object, env: dict[str, str] | None = None, **how: Any
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cellcam", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, **how)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


class TestFolders:
    def test_every_image_is_worked_on_as_explain_does(
        self, folder: Path, model: Path, tmp_path: Path
    ) -> None:
        done = run_batch([folder], model, tmp_path / "out", how=HERE)
        assert isinstance(done, Merged)
        assert not done.failed
        cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
        for name, own in cells.groupby("image"):
            stack = open_stack(folder / f"{name}.tif")
            expected = explain_field(stack, load_model(model, "cpu"))
            assert own["label"].tolist() == expected.cells["label"].tolist()
            np.testing.assert_allclose(own["p_S"], expected.cells["p_S"], rtol=1e-4)
            maps = open_stack(tmp_path / "out" / "images" / f"{name}.maps.ome.tif")
            np.testing.assert_allclose(maps.data[0, :, 0], expected.maps, rtol=0.02, atol=1e-5)
        assert done.cells == len(cells) == len(pd.read_csv(tmp_path / "out" / "cells.csv"))
        run = json.loads((tmp_path / "out" / "run.json").read_text())
        assert (run["images"], run["failed"], run["cells"]) == (8, 0, len(cells))

    def test_names_say_plate_well_and_site(self, folder: Path, model: Path, tmp_path: Path) -> None:
        run_batch([folder], model, tmp_path / "out", Choices(explained=0), how=HERE)
        images = pd.read_csv(tmp_path / "out" / "images.csv")
        first = images.set_index("image").loc["plate0/x_B01_s0"]
        assert first[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].tolist() == [
            "plate0", "B01", "s0",
        ]  # fmt: skip
        cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
        assert set(cells["Metadata_Well"]) <= {f"B0{i}" for i in range(1, 9)}
        pattern = r"x_(?P<Row>[A-P])(?P<Column>\d\d)"
        run_batch(
            [folder], model, tmp_path / "out", Choices(explained=0), how=HERE, pattern=pattern
        )
        cells = pd.read_csv(tmp_path / "out" / "cells.csv")
        assert cells.columns[:3].tolist() == ["image", "Metadata_Row", "Metadata_Column"]

    def test_bad_images_are_rows_with_reasons_and_stop_nothing(
        self, folder: Path, model: Path, tmp_path: Path
    ) -> None:
        good = (folder / "plate0" / "x_B01_s0.tif").read_bytes()
        (folder / "cut.tif").write_bytes(good[: len(good) // 2])
        (folder / "empty.tif").write_bytes(b"")
        (folder / "text.tif").write_text("no image")
        tifffile.imwrite(folder / "grey.tif", np.zeros((20, 20), np.uint8))
        damaged = bytearray(good)
        damaged[400:1400] = bytes(1000)
        (folder / "=damaged.tif").write_bytes(damaged)
        done = run_batch([folder], model, tmp_path / "out", how=HERE)
        assert done is not None
        told = {outcome.image: outcome.reason for outcome in done.failed}
        assert set(told) == {"cut", "empty", "text", "grey", "=damaged"}
        assert all(told.values())
        assert "wants the channels DNA, actin" in told["grey"]
        images = pd.read_csv(tmp_path / "out" / "images.csv")
        assert (images["status"] == "done").sum() == 8
        assert len(images) == 13

    def test_a_field_without_cells_is_done(self, model: Path, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).poisson(100, (1, 2, 1, 64, 64)).astype(np.uint16)
        (tmp_path / "in").mkdir()
        write_ome_tiff(tmp_path / "in" / "a.tif", noise, ["DNA", "actin"], PIXEL)
        done = run_batch([tmp_path / "in"], model, tmp_path / "out", how=HERE)
        assert done is not None
        assert [(one.status, one.cells) for one in done.outcomes] == [("done", 0)]
        assert "p_S" in pd.read_parquet(tmp_path / "out" / "cells.parquet")

    def test_equal_names_keep_their_results_apart(self, model: Path, tmp_path: Path) -> None:
        for i in range(2):
            write_field(tmp_path / f"in{i}" / "a.tif", i)
        done = run_batch([tmp_path / "in0", tmp_path / "in1"], model, tmp_path / "out", how=HERE)
        assert done is not None
        names = {outcome.image for outcome in done.outcomes}
        assert len(names) == 2
        assert all((tmp_path / "out/images" / f"{n}.maps.ome.tif").is_file() for n in names)

    def test_own_label_images_are_no_inputs_and_keep_their_numbers(
        self, folder: Path, model: Path, tmp_path: Path
    ) -> None:
        labels = np.zeros((96, 96), np.uint16)
        labels[10:20, 10:20], labels[50:60, 40:50] = 7, 300
        for path in list(folder.rglob("*.tif")):
            (path.parent / "masks").mkdir(exist_ok=True)
            tifffile.imwrite(path.parent / "masks" / path.name, labels)
        done = run_batch(
            [folder], model, tmp_path / "out", Choices(explained=0), how=HERE,
            labels="masks/{name}.tif",
        )  # fmt: skip
        assert done is not None
        assert len(done.outcomes) == 8
        cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
        assert cells["label"].tolist() == [7, 300] * 8

    def test_all_files_of_the_collection_in_one_run(
        self, shared_data: Path, make_model: Make, tmp_path: Path
    ) -> None:
        normalisation = {"offset": [0], "scale": [100]}
        save_model(make_model(channels=("H2B",), normalisation=normalisation), tmp_path / "model")
        (tmp_path / "temporary").mkdir()
        run = cellcam(
            "batch", shared_data / "tiff_zoo", "--model", tmp_path / "model", "--out", "out",
            "--explain", 0, "--scheduler", "sync", "--device", "cpu", "--quiet",
            cwd=tmp_path, env={"TMPDIR": str(tmp_path / "temporary")},
        )  # fmt: skip
        code, _, stderr = ended(run)
        assert code == 2, stderr
        images = pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)
        assert len(images) == len(list((shared_data / "tiff_zoo").rglob("*.tif*")))
        assert set(images["status"]) == {"done", "refused"}
        assert (images.loc[images["status"] != "done", "reason"] != "").all()
        assert (images["status"] == "done").sum() > 40
        assert images["cells"].sum() > 1000
        assert {path.name for path in tmp_path.iterdir()} == {"model", "out", "temporary"}
        assert not list((tmp_path / "temporary").iterdir())


class TestResuming:
    def test_what_is_done_is_not_done_again(
        self, folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cellcam.pipeline.planning._GROUP_IMAGES", 2)
        out = tmp_path / "out"
        run_batch([folder], model, out, how=HERE)
        before = {path: path.stat().st_mtime_ns for path in (out / "images").rglob("*.tif")}
        assert len(before) == 16
        run_batch([folder], model, out, how=HERE)
        assert before == {path: path.stat().st_mtime_ns for path in before}
        write_field(folder / "another.tif", 99)
        done = run_batch([folder], model, out, how=HERE)
        assert done is not None
        assert len(done.outcomes) == 9
        # Only the group that the new image came into is done again.
        kept = sum(path.stat().st_mtime_ns == changed for path, changed in before.items())
        assert kept >= 8

    def test_an_item_that_the_engine_repeats_leaves_its_files_alone(
        self, folder: Path, model: Path, tmp_path: Path
    ) -> None:
        job = Job.of(Choices(), model, tmp_path / "out", "cpu")
        plan = make_plan(list_images([folder], None), job, lambda some: look_at(some, job))
        first = run_item(plan.items[0], job, code_version())
        assert first.cells > 0
        before = {path: path.stat().st_mtime_ns for path in job.out.rglob("*.*")}
        assert run_item(plan.items[0], job, code_version()) == first
        assert before == {path: path.stat().st_mtime_ns for path in job.out.rglob("*.*")}

    @pytest.mark.parametrize("change", ["input", "choice", "model", "lost file", "cut file"])
    def test_what_changed_is_done_again(
        self, folder: Path, model: Path, make_model: Make, tmp_path: Path, change: str
    ) -> None:
        out, choices = tmp_path / "out", Choices()
        run_batch([folder], model, out, choices, how=HERE)
        if change == "input":
            write_field(folder / "plate0" / "x_B01_s0.tif", 77)
        elif change == "choice":
            choices = Choices(threshold=180.0)
        elif change == "model":
            save_model(make_model(crop_size=(24, 24), finding={"channel": "DNA"}), model)
        elif change == "lost file":
            (out / "images" / "plate0" / "x_B01_s0.labels.ome.tif").unlink()
        else:
            os.truncate(out / "images" / "plate0" / "x_B01_s0.cells.parquet", 100)
        run_batch([folder], model, out, choices, how=HERE)
        run_batch([folder], model, tmp_path / "fresh", choices, how=HERE)
        assert results_of(out) == results_of(tmp_path / "fresh")

    def test_shards_make_the_same_result(self, folder: Path, model: Path, tmp_path: Path) -> None:
        run_batch([folder], model, tmp_path / "whole", how=HERE)
        for i in range(3):
            how = How(shard=(i, 3), device="cpu")
            assert run_batch([folder], model, tmp_path / "sharded", how=how) is None
        run_batch([folder], model, tmp_path / "sharded", how=HERE)
        assert results_of(tmp_path / "sharded") == results_of(tmp_path / "whole")

    def test_one_run_at_a_time(self, folder: Path, model: Path, tmp_path: Path) -> None:
        from filelock import FileLock

        (tmp_path / "out" / "parts").mkdir(parents=True)
        with (
            FileLock(tmp_path / "out" / "parts" / "run.lock"),
            pytest.raises(UsageError, match="Another run"),
        ):
            run_batch([folder], model, tmp_path / "out", how=HERE)


class TestProcesses:
    """Faults of a real cluster of local processes."""

    @pytest.fixture
    def many(self, tmp_path: Path) -> Path:
        for i in range(12):
            write_field(tmp_path / "many" / f"i{i:02}.tif", i)
        return tmp_path / "many"

    @pytest.fixture
    def expected(self, many: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
        """Results of a run that nobody disturbs, with two threads where the workers have one."""
        self.run_here(many, model, tmp_path / "calm")
        return results_of(tmp_path / "calm")

    def run_here(self, many: Path, model: Path, out: Path) -> None:
        command = ("batch", many, "--model", model, "--scheduler", "sync", "--device", "cpu")
        code, _, stderr = ended(cellcam(*command, "--out", out, env={"OMP_NUM_THREADS": "2"}))
        assert code == 0, stderr

    def start(self, many: Path, model: Path, out: Path, **how: Any) -> subprocess.Popen[str]:
        return cellcam(
            "batch", many, "--model", model, "--out", out, "--workers", 2, "--device", "cpu",
            "--json", **how,
        )  # fmt: skip

    def test_kills_at_any_moment_change_no_byte(
        self, many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        for delay in (4.0, 9.0):
            run = self.start(many, model, tmp_path / "killed", start_new_session=True)
            time.sleep(delay)
            os.killpg(run.pid, signal.SIGKILL)
            ended(run)
        code, _, stderr = ended(self.start(many, model, tmp_path / "killed"))
        assert code == 0, stderr
        assert results_of(tmp_path / "killed") == expected
        assert not [p for p in (tmp_path / "killed").rglob(".*") if p.is_file()]

    def test_an_image_that_kills_its_worker_is_one_failed_row(
        self, many: Path, model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "hooks").mkdir()
        (tmp_path / "hooks" / "sitecustomize.py").write_text(DEADLY)
        path = os.pathsep.join([str(tmp_path / "hooks"), os.environ.get("PYTHONPATH", "")])
        os.rename(many / "i07.tif", many / "deadly.tif")
        code, stdout, stderr = ended(
            self.start(many, model, tmp_path / "out", env={"PYTHONPATH": path})
        )
        assert code == 2, stderr
        said = json.loads(stdout)
        assert list(said["failed"]) == ["deadly"]
        assert "died every time" in said["failed"]["deadly"]
        images = pd.read_csv(tmp_path / "out" / "images.csv")
        assert (images["status"] == "done").sum() == 11

    def test_an_interrupt_ends_with_status_three_and_can_be_resumed(
        self, many: Path, model: Path, tmp_path: Path
    ) -> None:
        run = self.start(many, model, tmp_path / "out")
        time.sleep(5)
        run.send_signal(signal.SIGINT)
        code, _, stderr = ended(run)
        assert code in (0, 3), stderr
        if code == 3:
            assert "give the same command again" in stderr
        assert ended(self.start(many, model, tmp_path / "out"))[0] == 0

    def test_a_full_disk_ends_with_status_three_and_can_be_resumed(
        self, many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
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
        self.run_here(many, model, tmp_path / "full")
        assert results_of(tmp_path / "full") == expected

    def test_a_cluster_that_exists_and_then_is_lost(
        self, many: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        address = tmp_path / "scheduler.json"
        with dask_cluster(address) as scheduler:
            command = ("batch", many, "--model", model, "--scheduler", address, "--device", "cpu")
            code, _, stderr = ended(cellcam(*command, "--out", tmp_path / "cluster"))
            assert code == 0, stderr
            assert results_of(tmp_path / "cluster") == expected

            run = cellcam(*command, "--out", tmp_path / "lost")
            running = tmp_path / "lost" / "parts" / "running"
            wait_until(lambda: running.is_dir() and any(running.iterdir()))
            scheduler.kill()
            code, _, stderr = ended(run)
            assert code == 3, stderr
            assert "The scheduler was lost" in stderr
        self.run_here(many, model, tmp_path / "lost")
        assert results_of(tmp_path / "lost") == expected


@contextmanager
def dask_cluster(address: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler and two workers, as someone else would have started them."""

    def dask(*words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *map(str, words), "--no-dashboard"]
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*command, "--scheduler-file", str(address)], **how)  # type: ignore[call-overload]

    started = [dask("scheduler", "--host", "127.0.0.1", "--port", 0)]
    try:
        wait_until(address.is_file)
        for _ in range(2):
            # Without a nanny, so that what is ended here is the worker itself.
            started.append(
                dask("worker", "--no-nanny", "--nthreads", 2, "--local-directory", address.parent)
            )
        yield started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# After some files the disk is full; the one place where all files get their names says so.
FULL_DISK = """
import errno, os
replace, left = os.replace, 8
def full(source, target, **how):
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    return replace(source, target, **how)
os.replace = full
"""


# Reading the pixels of this one file kills the process, as a faulty codec would.
DEADLY = """
import os, signal, sys
import tifffile
read = tifffile.imread
def imread(path, *args, **kwargs):
    if "deadly" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, *args, **kwargs)
tifffile.imread = imread
"""
