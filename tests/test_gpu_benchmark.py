"""The script for whoever has a graphics card runs through, on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("The same as on the CPU", "When memory runs out", "Explaining", "Feeding", "Compiled")


def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--small", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--seconds", "500"], capture_output=True, text=True, timeout=540, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert figures["failed"] == []
    assert all(f"seconds of {part}" in figures for part in PARTS)
    written = (tmp_path / "gpu.md").read_text("utf-8")
    assert written.startswith("## On a graphics card")
    assert "Left out" not in written


def test_a_part_without_time_is_skipped_with_a_word(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--small", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--seconds", "-1", "--parts", "matrix"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Skipped" in done.stdout
