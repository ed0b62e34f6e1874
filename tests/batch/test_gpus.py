"""Which GPUs the workers of a batch get, without one: what the machine says of them is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import distributed
import pytest

from cellcam.batch import executors


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    monkeypatch.setattr(distributed, "SpecCluster", lambda specs, *_, **__: specs)


def workers(device: str, count: int | None = None) -> list[dict[str, Any]]:
    specs: Any = executors._local_cluster(count, Path("scratch"), device)
    return [spec["options"] for spec in specs.values()]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_workers_take_turns_at_the_gpus(device: str) -> None:
    def cards(count: int | None) -> list[str]:
        return [worker["env"]["CUDA_VISIBLE_DEVICES"] for worker in workers(device, count)]

    assert cards(None) == ["0", "3"]
    assert cards(3) == ["0", "3", "0"]


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_was_named_keeps_its_name() -> None:
    (worker,) = workers("cuda:1")
    assert "CUDA_VISIBLE_DEVICES" not in worker["env"]
    assert worker["nthreads"] == 2


@pytest.mark.usefixtures("two_gpus")
def test_on_the_cpu_there_is_a_worker_for_each_core_whatever_gpus_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert [worker["nthreads"] for worker in workers("cpu")] == [1] * 5


@pytest.mark.parametrize(
    ("visible", "names"),
    [("", []), ("-1", []), ("1", ["1"]), ("0, 2", ["0", "2"]), ("2,-1,0", ["2"])],
)
def test_hidden_gpus_are_not_used(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert executors._gpus() == names


def test_without_the_drivers_folder_its_program_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A card (UUID: GPU-1)'\necho 'GPU 1: Another'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(executors, "_DRIVER", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert executors._gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert executors._gpus() == []
    program.unlink()
    assert executors._gpus() == []
