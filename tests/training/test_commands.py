from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from cellcam_training import commands
from cellcam_training.fitting import training_loop
from cellcam_training.fitting.epoch_validation import EpochValidation
from cellcam_training.tables.cell_table import CellTable
from support.command_line import command_here

from cellcam.errors import UsageError
from cellcam.models.bundle import read_spec
from cellcam.samples import sample_path

validate = EpochValidation.validate


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


def test_the_packaged_stack_can_be_trained_on(tmp_path: Path) -> None:
    """Its five planes are seen as one, and its table says nothing about planes."""
    commands.train(
        sample_path("demo_cells.truth.csv"), tmp_path / "model",
        group_column="label", field="max", network="small_cnn", epochs=1, device="cpu", quiet=True,
    )  # fmt: skip
    spec = read_spec(tmp_path / "model")
    assert spec.field == "max"
    assert spec.finding is not None
    assert spec.finding.channel == "DNA"


@pytest.mark.fault("Ctrl-C in a training", "status 3, and one line; the same command goes on")
def test_an_interrupted_training_ends_with_status_three_and_goes_on(
    table: CellTable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["train", "cells.csv", "--out", "m", "--channels", "light,DNA", "--epochs", 2]
    words += ["--network", "small_cnn", "--device", "cpu"]
    # The history is written after the checkpoint of an epoch.
    with patch.object(training_loop, "write_history", side_effect=KeyboardInterrupt):
        done = command_here(*words, folder=tmp_path)
    assert done.returncode == 3
    assert done.stderr == "cellcam: stopped; the same command goes on where it was.\n"
    assert not caplog.records
    with patch.object(EpochValidation, "validate", autospec=True, side_effect=validate) as epochs:
        assert command_here(*words, folder=tmp_path).returncode == 0
    assert [call.args[1]["epoch"] for call in epochs.call_args_list] == [2, 1, 2]


def test_a_word_that_is_no_field_is_refused_with_the_words_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="field: 'brightest' must be 'plane', 'max'"):
        commands.train(sample_path("demo_cells.truth.csv"), tmp_path / "model", field="brightest")
