"""Batches whose model is damaged before, during or after the work on other images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batches import HERE, cellcam, dask_cluster, ended, hooked, results_of

from cellcam import CellModel, save_model
from cellcam.batch import job, run, shared_model
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import ModelError, StoppedError
from cellcam.models.bundle import WEIGHTS

Make = Callable[..., CellModel]


def forget_models() -> None:
    """As a process that has just started."""
    shared_model._model.cache_clear()
    job._spec.cache_clear()


def lose_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()


@pytest.mark.fault(
    "30 a model without weights, with each executor",
    "refused before any work: status 1, one line, no folder of results",
)
@pytest.mark.parametrize(
    "words",
    [
        ["--scheduler", "sync"],
        ["--shard", "0/2"],
        ["--workers", "1"],
        ["--workers", "2", "--quiet"],
    ],
    ids=" ".join,
)
def test_every_executor_refuses_the_model_once(
    folder: Path, model: Path, tmp_path: Path, words: list[str]
) -> None:
    lose_weights(model)
    command = ("batch", folder, "--model", model, "--out", tmp_path / "new" / "out")
    code, stdout, stderr = ended(cellcam(*command, "--device", "cpu", *words))
    assert code == 1
    assert not stdout
    (line,) = stderr.splitlines()
    assert "models/model.safetensors is missing" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.fault("30 a model without weights, on a cluster", "refused before any work")
def test_a_cluster_refuses_the_model_once(folder: Path, model: Path, tmp_path: Path) -> None:
    lose_weights(model)
    (tmp_path / "out").mkdir()
    with dask_cluster(tmp_path / "scheduler.json"):
        command = ("batch", folder, "--model", model, "--out", tmp_path / "out", "--device", "cpu")
        code, _, stderr = ended(cellcam(*command, "--scheduler", tmp_path / "scheduler.json"))
    assert code == 1
    (line,) = stderr.splitlines()
    assert "models/model.safetensors is missing" in line
    assert not list((tmp_path / "out").iterdir())


def test_a_parent_of_workers_checks_the_model_without_torch(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    lose_weights(model)
    code = f"""
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from cellcam.batch.run import Resources, run_batch
    try:
        resources = Resources(workers=1, device="cpu")
        run_batch([Path({str(folder)!r})], Path({str(model)!r}), Path("out"), resources=resources)
    except ValueError as error:
        print(type(error).__name__, "torch" in sys.modules)
"""
    (tmp_path / "parent.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "parent.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["ModelError", "False"], done.stderr


@pytest.mark.fault(
    "30 a run that goes on with a model that was removed or damaged since",
    "refused; earlier results stay; with the model in its place nothing is repeated",
)
@pytest.mark.parametrize("damage", [shutil.rmtree, lose_weights])
def test_results_outlive_their_model(
    folder: Path, model: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    run_batch([folder], model, out, resources=HERE)
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    shutil.copytree(model, tmp_path / "copy")
    damage(model)
    for resources in (HERE, Resources(shard=(0, 2), device="cpu")):
        with pytest.raises(ModelError):
            run_batch([folder], model, out, resources=resources)
    assert files == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    shutil.copytree(tmp_path / "copy", model, dirs_exist_ok=True)
    done = run_batch([folder], model, out, resources=HERE)
    assert done is not None
    assert "8 of 8 images were finished before" in done.earlier[0]


def replaced(model: Path, make_model: Make) -> None:
    """Another model, as good as the first."""
    save_model(make_model(crop_size=(24, 24), finding={"channel": "DNA"}), model)


@pytest.mark.fault(
    "30 the model is removed, damaged or replaced while a batch runs",
    "status 3: no failed rows, no mixture; with the model in its place it goes on",
)
@pytest.mark.parametrize("blocks", [False, True], ids=["images", "blocks"])
@pytest.mark.parametrize("damage", ["removed", "without weights", "replaced"])
@pytest.mark.parametrize("moment", ["make_plan", "run_items"])
def test_a_model_that_is_lost_during_the_run_stops_it(
    folder: Path,
    model: Path,
    make_model: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocks: bool,
    damage: str,
    moment: str,
) -> None:
    if blocks:
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    shutil.copytree(model, tmp_path / "copy")
    step = getattr(run, moment)

    def lose_model_and_go_on(*arguments: object) -> object:
        if damage == "removed":
            shutil.rmtree(model)
        elif damage == "without weights":
            lose_weights(model)
        else:
            replaced(model, make_model)
        forget_models()
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run, moment, lose_model_and_go_on)
        with pytest.raises(StoppedError, match="when the run began") as stopped:
            run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert "the same command goes on" in str(stopped.value)
    assert not list((tmp_path / "out" / "parts").glob("??/*.json"))
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(tmp_path / "copy", model)
    forget_models()
    done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert not done.failed
    run_batch([folder], model, tmp_path / "fresh", resources=HERE)
    assert results_of(tmp_path / "out") == results_of(tmp_path / "fresh")


# Reading weights kills the process, as the system does where memory is lacking.
DEADLY_MODEL = """
import os, signal
from cellcam.models import folder_files
folder_files.read_tensors = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(
    "18 a worker that dies whenever it loads the model", "status 3 in one line; nothing written"
)
def test_a_model_that_kills_its_worker_stops_the_run(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    hooks = hooked(tmp_path / "hooks", DEADLY_MODEL)
    command = ("batch", folder, "--model", model, "--out", tmp_path / "out", "--device", "cpu")
    code, _, stderr = ended(cellcam(*command, "--workers", 1, env={**os.environ, **hooks}))
    assert code == 3, stderr
    assert "died while it loaded" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
