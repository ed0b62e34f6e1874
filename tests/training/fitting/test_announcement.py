"""The command that trains says before it begins what it will see and do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cellcam_training import commands
from cellcam_training.fitting.announcement import announcement
from cellcam_training.fitting.course import course_of
from cellcam_training.fitting.time_estimate import estimated_seconds, in_words
from cellcam_training.fitting.trainer import check_out, read_all_crops
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from support.cell_tables import QUICK
from support.html import Tags

from cellcam import load_model
from cellcam.errors import UsageError


@pytest.mark.fault(
    "Crop size, network and epochs of a training are chosen by the program",
    "Said before it begins, with reason and time; --crop-size, --network, --epochs set them",
)
def test_a_training_says_before_it_begins_what_it_sees_and_does(
    table: CellTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.train(
        tmp_path / "cells.csv", tmp_path / "m", channels="light,DNA", epochs=2, device="cpu",
        crop_size="10", network="small_cnn",
    )  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    before = said[: next(i for i, line in enumerate(said) if line.startswith("Network small_cnn:"))]
    assert before[0] == "80 cells: 40 G1, 40 G2."
    assert "crops of 10 x 10 pixels, as it was asked for" in before[1]
    assert before[2] == "Channels: light, DNA."
    assert "16 of 80 cells are kept for validation" in "\n".join(before)
    assert "2 epochs, then one on all cells" in "\n".join(before)
    assert re.match(r"The epochs take about \d+ s on this machine; measurements and", before[-1])
    assert "Network: small_cnn, as you chose; --network changes it." in before
    spec = load_model(tmp_path / "m", "cpu").spec
    assert spec.crop_size == (10, 10)
    assert spec.training["epochs"] == 2
    page = (tmp_path / "m" / "docs" / "report.html").read_text("utf-8")
    assert "What it sees" in page
    assert page.count('alt="a cell of G1"') == 6


def test_the_page_of_sample_crops_is_there_before_the_training(
    table: CellTable, tmp_path: Path
) -> None:
    crops = read_all_crops(table, QUICK, tmp_path / "m.training")
    announcement(table, crops, QUICK, tmp_path / "m", "cpu")
    page = (tmp_path / "m.training" / "sample_crops.html").read_text("utf-8")
    tags = Tags(page)
    assert tags.names.count("img") == 12
    assert all(link.startswith("data:") for link in tags.links)
    assert "12 x 12 pixels, as the images are" in page


def test_an_estimate_changes_nothing_and_counts_epochs_networks_and_folds(
    table: CellTable, tmp_path: Path
) -> None:
    crops = read_all_crops(table, QUICK, tmp_path / "m.training")
    course = course_of(table, crops, QUICK)
    assert (course.n_judges, course.n_networks) == (1, 2)
    seconds = estimated_seconds(table, crops, course, "cpu")
    assert 0 < seconds < 600
    longer = course_of(table, crops, QUICK.model_copy(update={"epochs": 8000}))
    assert estimated_seconds(table, crops, longer, "cpu") > 50 * seconds
    assert [in_words(s) for s in (0.2, 40, 700, 12_600)] == ["1 s", "40 s", "12 min", "3.5 h"]


@pytest.mark.fault(
    "A training into the folder of another model", "Refused without --overwrite; nothing is lost"
)
def test_a_model_is_not_replaced_without_being_asked(table: CellTable, tmp_path: Path) -> None:
    arguments = {"channels": "light,DNA", "epochs": 1, "device": "cpu", "quiet": True}
    commands.train(tmp_path / "cells.csv", tmp_path / "m", folds=2, **arguments)
    before = load_model(tmp_path / "m", "cpu").spec.weights_sha256
    assert (tmp_path / "m" / "docs" / "cross_validation.json").is_file()
    arguments["epochs"] = 2
    with pytest.raises(UsageError, match="holds a model already.*--overwrite"):
        commands.train(tmp_path / "cells.csv", tmp_path / "m", **arguments)
    assert load_model(tmp_path / "m", "cpu").spec.weights_sha256 == before
    commands.train(tmp_path / "cells.csv", tmp_path / "m", overwrite=True, **arguments)
    assert load_model(tmp_path / "m", "cpu").spec.weights_sha256 != before
    # The cross-validation was that of the model before.
    assert not (tmp_path / "m" / "docs" / "cross_validation.json").exists()


def test_a_folder_with_something_else_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    check_out(tmp_path / "m", overwrite=False)
    check_out(tmp_path / "new", overwrite=False)
    (tmp_path / "m" / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match="thesis.docx"):
        check_out(tmp_path / "m", overwrite=True)
    with pytest.raises(UsageError, match="is a file"):
        check_out(tmp_path / "m" / "thesis.docx", overwrite=True)


@pytest.mark.fault("A class without validation cells", "Said before the training and in the report")
def test_classes_without_validation_cells_are_named(table: CellTable, tmp_path: Path) -> None:
    columns = pd.read_csv(tmp_path / "cells.csv")
    columns["split"] = np.where((columns["cls"] == "G2") | (columns.index % 4 > 0), "train", "val")
    columns.to_csv(tmp_path / "cells.csv", index=False)
    split = read_cell_table(tmp_path / "cells.csv")
    crops = read_all_crops(split, QUICK, tmp_path / "m.training")
    assert course_of(split, crops, QUICK).without_judge == ("G2",)
    said = announcement(split, crops, QUICK, tmp_path / "m", "cpu")
    assert any("No cell of G2 is kept for validation" in line for line in said)


@pytest.mark.fault(
    "An evaluation on cells that the model was trained on",
    "Said: how many, which (calls.csv), and that the figures are too good",
)
def test_cells_that_the_model_was_trained_on_are_counted(
    table: CellTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_csv(tmp_path / "cells.csv")
    rows[:60].to_csv(tmp_path / "training.csv", index=False)
    rows[40:].to_csv(tmp_path / "test.csv", index=False)
    model = tmp_path / "m"
    commands.train(
        tmp_path / "training.csv", model, channels="light,DNA", epochs=1, device="cpu", quiet=True
    )
    commands.evaluate(tmp_path / "test.csv", model, tmp_path / "e", channels="light,DNA")
    assert "trained on 20 of these 40 cells" in capsys.readouterr().out
    calls = pd.read_csv(tmp_path / "e" / "calls.csv")
    assert calls["in_training"].tolist() == [True] * 20 + [False] * 20
    assert "trained on 20 of these 40 cells" in (tmp_path / "e" / "report.html").read_text("utf-8")
    rows[60:].to_csv(tmp_path / "test.csv", index=False)
    commands.evaluate(tmp_path / "test.csv", model, tmp_path / "e", channels="light,DNA")
    assert "trained on" not in capsys.readouterr().out


@pytest.mark.fault(
    "A class of a single group, all of it kept for validation",
    "Said: the network is judged on a class that it has never seen",
)
def test_classes_that_a_judge_has_never_seen_are_named(table: CellTable, tmp_path: Path) -> None:
    columns = pd.read_csv(tmp_path / "cells.csv")
    columns["split"] = np.where(columns["cls"] == "G2", "val", "train")
    columns.loc[columns.index[columns["cls"] == "G1"][:9], "split"] = "val"
    columns.to_csv(tmp_path / "cells.csv", index=False)
    split = read_cell_table(tmp_path / "cells.csv")
    crops = read_all_crops(split, QUICK, tmp_path / "m.training")
    course = course_of(split, crops, QUICK)
    assert (course.without_judge, course.unseen) == ((), ("G2",))
    assert "has never seen" in course.warnings()[0]
