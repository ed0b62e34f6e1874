from __future__ import annotations

from pathlib import Path

import pytest
from cellcam_training import commands

from cellcam.errors import UsageError


def test_an_unknown_benchmark_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is: planted"):
        commands.benchmark("voc", tmp_path)


def test_evaluate_evaluates_explanations_too(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = benchmark / "plain" / "test" / "cells.csv"
    masks = benchmark / "plain" / "test" / "bodies"
    commands.evaluate(
        table, benchmark / "plain" / "model", tmp_path, explanations=True, masks=masks, device="cpu"
    )
    printed = capsys.readouterr().out
    assert "Integrated Grad-CAM, paper, 20 steps: ebpg" in printed
    assert "left out" not in printed
    assert {f.name for f in tmp_path.iterdir()} >= {"explanations.html", "explanations.json"}
