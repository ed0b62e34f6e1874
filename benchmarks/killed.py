"""Is a run that was killed and given again the run that was not?

    python benchmarks/killed.py WORK --model MODEL --moments 5
    python benchmarks/killed.py WORK --model MODEL --worker

Driver and workers are killed (signal 9) at random moments of a run, each time from the
beginning, and the same command is given again: every table, map and label image must come out
the same, byte for byte. With --worker a single worker is killed once half of the images are done,
and the run goes on by itself.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from batch import written_fields

from cellcam.models.bundle import read_spec


def start(images: Path, model: Path, out: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "cellcam", "batch", str(images), "--model", str(model),
        "--out", str(out), "--explain", "0.2", "--workers", "2", "--device", "cpu", "--json",
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def results_of(out: Path) -> dict[str, bytes]:
    kept = [*out.glob("*.csv"), *out.glob("*.parquet"), *(out / "images").rglob("*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.is_file()}


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes)


def kill_all(run: subprocess.Popen[str]) -> None:
    driver = psutil.Process(run.pid)
    kill([driver, *driver.children(recursive=True)])
    run.wait()


def at_random_moments(images: Path, model: Path, work: Path, moments: int) -> None:
    started = time.monotonic()
    assert start(images, model, work / "calm").wait() == 0
    whole = time.monotonic() - started
    expected = results_of(work / "calm")
    print(f"never killed: {whole:.1f} s, {len(expected)} files")
    for moment in np.random.default_rng(0).uniform(0.1, 0.95, moments) * whole:
        shutil.rmtree(work / "killed", ignore_errors=True)
        run = start(images, model, work / "killed")
        time.sleep(moment)
        before = len(results_of(work / "killed"))
        kill_all(run)
        code = start(images, model, work / "killed").wait()
        same = results_of(work / "killed") == expected
        print(f"killed after {moment:.1f} s with {before} files: status {code}, same: {same}")


def one_worker(images: Path, model: Path, work: Path, count: int) -> None:
    shutil.rmtree(work / "out", ignore_errors=True)
    run = start(images, model, work / "out")
    while len(list((work / "out" / "images").rglob("*.maps.ome.tif"))) < count / 2:
        assert run.poll() is None, "the run ended before half of its images were done"
        time.sleep(0.05)
    workers = [p for p in psutil.Process(run.pid).children(recursive=True) if _is_worker(p)]
    kill(workers[:1])
    said = run.communicate()[0].strip()
    print(f"1 of {len(workers)} workers killed: status {run.returncode}, {said}")


def _is_worker(process: psutil.Process) -> bool:
    # Each of them has loaded the network; multiprocessing's helpers have not.
    return process.memory_info().rss > 150 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--moments", type=int, default=5)
    parser.add_argument("--worker", action="store_true")
    chosen = parser.parse_args()
    images = chosen.work / "images"
    shutil.rmtree(images, ignore_errors=True)
    written_fields(images, chosen.images, 128, read_spec(chosen.model).channels, 4)
    if chosen.worker:
        one_worker(images, chosen.model, chosen.work, chosen.images)
    else:
        at_random_moments(images, chosen.model, chosen.work, chosen.moments)


if __name__ == "__main__":
    main()
