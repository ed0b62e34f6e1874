"""Faults of inputs, results and machines that a batch meets in one process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from support.batches import (
    HERE,
    PIXEL,
    cellcam,
    ended,
    field_of_discs,
    results_of,
    small_disk,
    write_field,
)

from cellcam import CellModel, Request, save_model
from cellcam.batch.images import list_images
from cellcam.batch.job import Job
from cellcam.batch.merge import verify
from cellcam.batch.plan import make_plan, measure_workload
from cellcam.batch.records import outcome_of
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import StoppedError, UsageError
from cellcam.models.device import is_broken
from cellcam.stacks.writing import write_ome_tiff

Make = Callable[..., CellModel]


@pytest.mark.fault(
    "9 an image with other channels than the model",
    "refused with both lists of names; the network sees none of it",
)
def test_an_image_that_does_not_fit_costs_no_network(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*_: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr("cellcam.batch.shared_model.classify_fields", call)
    pixels = np.zeros((1, 5, 1, 64, 64), np.uint16)
    (tmp_path / "in").mkdir()
    write_ome_tiff(tmp_path / "in" / "five.tif", pixels, list("abcde"), PIXEL)
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", resources=HERE)
    assert done is not None
    (outcome,) = done.outcomes
    assert outcome.status == "refused"
    assert "The model wants the channels DNA, actin; five has a, b, c, d, e" in outcome.reason
    assert "--channels" in outcome.reason
    assert "--map" in outcome.reason


@pytest.mark.fault(
    "10 channels in another order", "the same calls and maps as in the model's order"
)
def test_channels_are_matched_by_name(model: Path, tmp_path: Path) -> None:
    stack = field_of_discs(3)
    pixels = np.asarray(stack.data)
    for name, order in (("as_trained", [0, 1]), ("turned", [1, 0])):
        (tmp_path / name).mkdir()
        names = [stack.channels[i] for i in order]
        write_ome_tiff(tmp_path / name / "a.tif", pixels[:, order], names, PIXEL)
        run_batch([tmp_path / name], model, tmp_path / f"{name}-out", resources=HERE)
    first, second = (results_of(tmp_path / f"{n}-out") for n in ("as_trained", "turned"))
    first.pop("images.csv"), second.pop("images.csv")  # it holds the path of the image
    assert first == second


@pytest.mark.fault("10 two channels of one name", "refused with --channels; never one by guess")
def test_channels_of_one_name_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.asarray(field_of_discs(3).data)
    pixels = np.concatenate([pixels, pixels[:, :1]], 1)
    write_ome_tiff(tmp_path / "in" / "a.tif", pixels, ["DNA", "actin", "DNA"], PIXEL)
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert "channels of the same name: DNA, actin, DNA" in done.outcomes[0].reason
    assert "--channels" in done.outcomes[0].reason


@pytest.mark.fault(
    "22 an input that is written while the batch reads it",
    "a failed row, no mixture; the same command then works on it",
)
@pytest.mark.parametrize("blocks", [False, True])
def test_an_image_that_changes_during_the_run_has_no_result(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: bool
) -> None:
    from cellcam.batch import huge_images, whole_images

    if blocks:
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    module = huge_images if blocks else whole_images
    find = module.find_field
    target = folder / "plate0" / "x_B01_s0.tif"

    def find_and_change(matched: object, *place: object) -> object:
        found = find(matched, *place)  # type: ignore[arg-type]
        if found.stack.name.endswith("B01_s0"):
            write_field(target, 99)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "find_field", find_and_change)
        done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert [outcome.image for outcome in done.failed] == ["plate0/x_B01_s0"]
    assert "was changed while the batch worked on it" in done.failed[0].reason
    run_batch([folder], model, tmp_path / "out", resources=HERE)
    run_batch([folder], model, tmp_path / "fresh", resources=HERE)
    assert results_of(tmp_path / "out") == results_of(tmp_path / "fresh")


@pytest.mark.fault("25 an image that vanishes during the run", "one row with the reason")
def test_an_image_that_vanishes_is_one_row(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellcam.batch import run

    plan = run.make_plan

    def plan_and_remove(*arguments: object) -> object:
        made = plan(*arguments)  # type: ignore[arg-type]
        (folder / "plate0" / "x_B01_s0.tif").unlink()
        return made

    monkeypatch.setattr(run, "make_plan", plan_and_remove)
    done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert [outcome.image for outcome in done.failed] == ["plate0/x_B01_s0"]
    assert len(done.outcomes) == 8


@pytest.mark.fault(
    "24 clocks that are wrong: inputs of tomorrow, results of last century",
    "finished work is kept; no decision compares two clocks",
)
def test_wrong_clocks_change_nothing(folder: Path, model: Path, tmp_path: Path) -> None:
    tomorrow = time.time() + 86400
    for path in folder.rglob("*.tif"):
        os.utime(path, (tomorrow, tomorrow))
    run_batch([folder], model, tmp_path / "out", resources=HERE)
    for path in (tmp_path / "out").rglob("*"):
        os.utime(path, (1000, 1000))
    again = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert again is not None
    assert "8 of 8 images were finished before" in again.earlier[0]
    maps = (tmp_path / "out" / "images").rglob("*.tif")
    assert {path.stat().st_mtime for path in maps} == {1000}


@pytest.mark.fault("29 a GPU that is not there", "refused before any work, with --device cpu")
@pytest.mark.parametrize("resources", [HERE, Resources("threads"), Resources(shard=(0, 2))])
def test_a_device_that_is_not_there_is_refused(
    folder: Path, model: Path, tmp_path: Path, resources: Resources
) -> None:
    missing = Resources(resources.scheduler, shard=resources.shard, device="cuda:63")
    with pytest.raises(UsageError, match=r"cuda:63.*--device cpu"):
        run_batch([folder], model, tmp_path / "out", resources=missing)
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.fault("29 a GPU that is not there, with workers", "refused before any work")
def test_workers_without_the_device_are_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    command = ("batch", folder, "--model", model, "--out", tmp_path / "out", "--workers", 1)
    code, _, stderr = ended(cellcam(*command, "--device", "cuda:63"))
    assert code == 1
    assert "cannot work: Device 'cuda:63'" in stderr
    assert "Traceback" not in stderr


@pytest.mark.fault("32 parts of a shard are missing at the end", "refused to merge; said how many")
def test_lost_parts_are_not_merged(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_batch([folder], model, out, resources=HERE)
    job = Job.of(Request(), model, out, "cpu")
    plan = make_plan(list_images([folder], None), job, lambda some: measure_workload(some, job))
    assert len(verify(plan, job)) == 8
    (out / "images" / "plate0" / "x_B01_s0.maps.ome.tif").unlink()
    with pytest.raises(StoppedError, match=r"1 of \d+ parts are not there"):
        verify(plan, job)


@pytest.mark.fault(
    "33 a part file of the right size with flipped bytes",
    "found when it is read, removed; the same command makes it anew",
)
def test_a_damaged_part_is_found_and_made_anew(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_batch([folder], model, out, resources=HERE)
    part = out / "images" / "plate1" / "x_B02_s1.cells.parquet"
    part.write_bytes(os.urandom(part.stat().st_size))
    with pytest.raises(StoppedError, match=r"x_B02_s1.*damaged and was removed.*same command"):
        run_batch([folder], model, out, resources=HERE)
    run_batch([folder], model, out, resources=HERE)
    run_batch([folder], model, tmp_path / "fresh", resources=HERE)
    assert results_of(out) == results_of(tmp_path / "fresh")


@pytest.mark.fault("33 records of finished work that are truncated or junk", "the work is repeated")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 1}', b"\xff\xfe\0"])
def test_a_damaged_record_counts_as_no_record(
    folder: Path, model: Path, tmp_path: Path, content: bytes
) -> None:
    out = tmp_path / "out"
    run_batch([folder / "plate0"], model, out, Request(explained=0), resources=HERE)
    before = results_of(out)
    for record in (out / "parts").glob("??/*.json"):
        record.write_bytes(content)
    run_batch([folder / "plate0"], model, out, Request(explained=0), resources=HERE)
    assert results_of(out) == before


@pytest.mark.fault("27 no memory for a single cell on the GPU", "one failed row with the way out")
def test_memory_errors_say_what_to_do() -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError("no room")):
        reason = outcome_of(error, "a").reason
        assert "--workers" in reason
        assert "--device cpu" in reason


def test_errors_that_break_a_gpu_are_told_from_others() -> None:
    assert is_broken(RuntimeError("CUDA error: device-side assert triggered"))
    assert is_broken(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    assert not is_broken(RuntimeError("CUDA error: out of memory"))
    assert not is_broken(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_broken(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.fixture(params=[96, 160, 260])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that is full after so many KiB."""
    try:
        with small_disk(tmp_path / "small", request.param * 1024):
            yield tmp_path / "small"
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.fault(
    "25 a disk that is full after 96, 160 or 260 KiB (a real one)",
    "status 3, no half file; with more room the same command gives the bytes of a calm run",
)
def test_a_real_disk_that_is_full(folder: Path, model: Path, small: Path, tmp_path: Path) -> None:
    import subprocess

    command = ("batch", folder, "--model", model, "--scheduler", "sync", "--device", "cpu")
    code, _, stderr = ended(cellcam(*command, "--out", small / "out"))
    assert code == 3, stderr
    assert "There is no space left" in stderr
    assert "Traceback" not in stderr
    assert not [path for path in (small / "out").rglob(".*") if path.is_file()]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
    assert ended(cellcam(*command, "--out", small / "out"))[0] == 0
    run_batch([folder], model, tmp_path / "calm", resources=HERE)
    assert results_of(small / "out") == results_of(tmp_path / "calm")


@pytest.mark.fault(
    "25 a single image explained on a full disk", "status 3 with the way out, no half file"
)
def test_a_single_image_on_a_full_disk(model: Path, small: Path, tmp_path: Path) -> None:
    pixels = np.concatenate([np.asarray(field_of_discs(i, (256, 256), 60).data) for i in range(4)])
    write_ome_tiff(tmp_path / "a.tif", pixels, ["DNA", "actin"], PIXEL)
    command = ("explain", tmp_path / "a.tif", "--model", model, "--device", "cpu")
    code, _, stderr = ended(cellcam(*command, "--out", small / "out"))
    assert code == 3, stderr
    assert "There is no space left" in stderr
    assert not [path for path in (small / "out").rglob(".*") if path.is_file()]
    for path in (small / "out").glob("*.tif"):
        assert tifffile.imread(path).size  # whole, where it is there


@pytest.mark.fault("25 results on a disk that cannot be written", "status 1 in one line")
@pytest.mark.parametrize("command", ["batch", "explain"])
def test_a_folder_that_cannot_be_written(model: Path, tmp_path: Path, command: str) -> None:
    write_field(tmp_path / "a.tif", 0)
    run = cellcam(
        command, tmp_path / "a.tif", "--model", model, "--out", "/proc/cellcam", "--device", "cpu"
    )
    code, _, stderr = ended(run)
    assert code == 1
    assert stderr.startswith("cellcam: ")
    assert "Traceback" not in stderr
    assert "/proc/cellcam" in stderr


@pytest.mark.fault("a name that makes the path of a result too long", "one row; all others done")
def test_a_result_whose_path_is_too_long_is_one_row(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    write_field(folder / "short.tif", 5)
    os.rename(folder / "short.tif", folder / "plate0" / f"{'n' * 246}.tif")
    done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert [outcome.image for outcome in done.failed] == [f"plate0/{'n' * 246}"]
    assert "too long" in done.failed[0].reason
    assert len(done.outcomes) == 9
    again = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert again is not None
    assert len(again.failed) == 1


@pytest.mark.fault(
    "11 images of several types and pixel sizes in one folder", "each at its own scale"
)
def test_a_mixed_folder_keeps_the_scale_of_each_image(make_model: Make, tmp_path: Path) -> None:
    model = make_model(finding={"channel": "DNA", "diameter_um": 7}, pixel_size_um=(0.5, 0.5))
    save_model(model, tmp_path / "model")
    (tmp_path / "in").mkdir()
    pixels = np.asarray(field_of_discs(3).data)
    for dtype in (np.uint16, np.float32, np.int32):
        for edge in (0.5, 0.25):
            name = f"{np.dtype(dtype).name}_{edge}.tif"
            size = PIXEL._replace(y=edge, x=edge)
            write_ome_tiff(tmp_path / "in" / name, pixels.astype(dtype), ["DNA", "actin"], size)
    done = run_batch([tmp_path / "in"], tmp_path / "model", tmp_path / "out", resources=HERE)
    assert done is not None
    assert not done.failed
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    for name, rows in cells.groupby("image"):
        edge = float(str(name).rpartition("_")[2])
        np.testing.assert_allclose(rows["y_um"], rows["y"] * edge)
    # The pixels are the same: so are the calls, whatever the type.
    by_scale = cells.assign(edge=cells["image"].str.rpartition("_")[2])
    for _, rows in by_scale.groupby("edge"):
        tables = [table[["y", "x", "p_S"]].to_numpy() for _, table in rows.groupby("image")]
        for table in tables[1:]:
            np.testing.assert_allclose(table, tables[0], rtol=1e-4)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["failed"] == 0
