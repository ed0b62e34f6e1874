"""Corrections that last, and a training in a child process whose model is compared first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.comparison import cells_of_training, compare
from napari_cellcam.state.project import Project
from napari_cellcam.state.training_cells import has_earned_trust, suggest_cells
from support.models import untrained_model
from support.window import PLACEMENT, Until, classified, discs

from cellcam.errors import InputError
from cellcam.models.bundle import save_model
from cellcam.models.spec import Finding

pytestmark = pytest.mark.gui


@pytest.fixture
def many(widget: ExplainWidget, until: Until) -> ExplainWidget:
    """The widget with 24 cells, classified by an untrained model.

    ``widget.truth`` holds their classes: every second cell is bright in actin, and M.
    """
    centres = [(y, x) for y in range(12, 120, 24) for x in range(12, 120, 24)][:24]
    widget.viewer.layers.clear()
    actin = discs((120, 130), centres[::2])
    for name, image in {"DNA": discs((120, 130), centres), "actin": actin}.items():
        widget.viewer.add_image(image, name=name, **PLACEMENT)
    widget.classify()
    until(lambda: not widget.busy)
    assert len(widget.session.table) == 24
    widget.truth = [
        "M" if actin[round(y), round(x)] > 100 else "G1"
        for y, x in zip(widget.session.table["y"], widget.session.table["x"], strict=True)
    ]
    return widget


def correct_all(many: ExplainWidget) -> None:
    """Give every cell its true class."""
    for name in ("M", "G1"):
        many.classes.assign(name, [row for row, true in enumerate(many.truth) if true == name])


def test_classes_are_assigned_to_the_selected_cells(many: ExplainWidget) -> None:
    many.table.selectAll()
    many.classes.assign("M")
    assert many.classes.true_classes == dict.fromkeys(range(24), "M")
    assert (many.session.table["true class"] == "M").all()
    colours = many.results.cells.colormap.color_dict
    assert all(np.allclose(colours[i], colours[1]) for i in range(2, 25))


def test_the_selected_cell_is_shown_beside_the_class_buttons(
    many: ExplainWidget, until: Until
) -> None:
    shown = many.classes.cell
    assert not shown.isVisibleTo(many)
    many.go_to_cell(7)
    assert shown.isVisibleTo(many)
    assert shown.row == 7
    label, call = many.session.table.iloc[7][["label", "class"]]
    assert f"Cell {label}" in shown.text.text()
    assert f"{call}, " in shown.text.text()
    assert "true class" not in shown.text.text()
    many.classes.assign("M", [7])
    assert "true class: <b>M</b>" in shown.text.text()
    many.classes.corrections.undo()
    assert "true class" not in shown.text.text()
    until(lambda: not many.busy)
    many.choices.threshold.setValue(60)  # the results are put away
    assert not shown.isVisibleTo(many)


def test_suggested_cells_are_doubtful_and_diverse(many: ExplainWidget) -> None:
    margins = many.session.table["margin"].to_numpy()
    (first,) = suggest_cells(many.session, {})
    assert first == margins.argmin()
    others = suggest_cells(many.session, {first: "M"}, 3)
    assert len(set(others)) == 3
    assert first not in others
    assert suggest_cells(many.session, dict.fromkeys(range(24), "M")) == []


def test_changes_are_undone_and_made_again(many: ExplainWidget) -> None:
    classes = many.classes
    classes.assign("M", [1, 2])
    classes.assign("G1", [2])
    classes.corrections.remove_class("M")
    assert classes.true_classes == {2: "G1"}
    assert classes.corrections.classes == ("G1",)
    for expected in ({1: "M", 2: "G1"}, {1: "M", 2: "M"}, {}):
        classes.undo_button.click()
        assert classes.true_classes == expected
    assert not classes.undo_button.isEnabled()
    for _ in range(3):
        classes.redo_button.click()
    assert classes.true_classes == {2: "G1"}
    classes.undo_button.click()
    classes.corrections.rename_class("M", "mitotic")
    assert classes.true_classes == {1: "mitotic", 2: "G1"}
    assert not classes.redo_button.isEnabled()


def test_corrections_survive_other_cells_another_image_and_another_model(
    many: ExplainWidget, until: Until, make_folder: Callable[..., Path]
) -> None:
    many.classes.assign("M", [5])
    facts = many.session.table.iloc[5]
    many.choices.threshold.setValue(60)  # cells of another size
    assert many.session is None
    classified(many, until)
    ((row, name),) = many.classes.true_classes.items()
    assert name == "M"
    found = many.session.table.iloc[row]
    assert np.hypot(found["y"] - facts["y"], found["x"] - facts["x"]) < 3

    def look_at_other() -> None:
        for choice in many.choices.sources.values():
            choice.setCurrentText("other")

    many.viewer.add_image(discs((40, 60), [(20, 15), (20, 40)]), name="other", **PLACEMENT)
    look_at_other()
    classified(many, until)
    assert many.classes.true_classes == {}
    many.classes.assign("G1", [0])
    many.choices.choose_model(str(make_folder()))
    look_at_other()
    classified(many, until)
    assert many.classes.true_classes == {0: "G1"}
    assert many.classes.corrections.counts() == {"G1": 1, "M": 1}


def test_classes_of_another_classifier_of_the_project_are_not_offered(
    many: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    many.classes.assign("M", [5])
    finding = Finding(channel="DNA", diameter_um=6.0)
    classes = ("sharp", "blurred")
    other = untrained_model(crop_size=(20, 20), classes=classes, finding=finding)
    save_model(other, tmp_path / "other")
    many.choices.choose_model(str(tmp_path / "other"))
    classified(many, until)
    assert many.classes.names == ("sharp", "blurred")
    many.classes.assign_number(1)
    many.classes.assign("sharp", [2])
    many.classes.corrections.add_class("M")  # the same name, for these cells
    assert set(many.classes.names) == {"sharp", "blurred", "M"}
    assert many.classes.corrections.counts()["M"] == 1


def test_every_change_is_on_disk_and_can_be_opened(many: ExplainWidget, projects: Path) -> None:
    assert not projects.exists()  # nothing is written before there is something worth it
    many.classes.assign("M", [3, 5])
    many.classes.assign("G1", [7])
    folder = many.project.folder
    assert folder.parent == projects
    table = pd.read_csv(folder / "corrections.csv")
    assert sorted(table["cls"]) == ["G1", "M", "M"]
    crop = np.load(folder / "crops" / table[table["cls"] == "G1"]["crop"].item())
    np.testing.assert_array_equal(crop, many.session.crop(7))
    many.classes.corrections.undo()
    assert sorted(pd.read_csv(folder / "corrections.csv")["cls"]) == ["M", "M"]
    again, _ = Project.open(folder)
    assert again.corrections.rows(many.session) == {3: "M", 5: "M"}
    assert again.corrections.classes == ("G1", "M")


def test_a_project_that_was_damaged_is_refused(many: ExplainWidget) -> None:
    many.classes.assign("M", [3])
    (many.project.folder / "corrections.csv").write_text("nonsense")
    with pytest.raises(InputError, match="holds no corrections"):
        Project.open(many.project.folder)


def test_train_says_what_lacks_until_it_can_begin(many: ExplainWidget) -> None:
    training = many.training
    assert not training.train_button.isEnabled()
    assert "at least 3 cells each of two classes" in training._lacking.text()
    many.classes.assign("M", [0, 1, 2, 3])
    many.classes.assign("G1", [4, 5])
    assert not training.train_button.isEnabled()
    assert "G1 has 2" in training._lacking.text()
    many.classes.assign("G1", [6])
    assert training.train_button.isEnabled()
    assert training._lacking.text() == ""
    many.classes.corrections.undo()
    assert not training.train_button.isEnabled()


def test_sure_calls_are_learned_only_of_a_model_that_earned_it(many: ExplainWidget) -> None:
    assert not many.training.with_sure_calls.isChecked()
    assert not many.training.with_sure_calls.isEnabled()
    spec = many.session.model.spec
    good = {"validation": {"balanced_accuracy": 0.95, "n": 200}}
    earned = spec.model_copy(update={"training": good})
    assert has_earned_trust(earned, packaged=False)
    assert not has_earned_trust(earned, packaged=True)
    poor = {"validation": {"balanced_accuracy": 0.95, "n": 20}}
    assert not has_earned_trust(spec.model_copy(update={"training": poor}), packaged=False)


@pytest.mark.timeout(900)  # four small trainings, maybe on a busy machine
def test_a_new_model_is_compared_and_used_only_when_chosen(
    many: ExplainWidget, until: Until
) -> None:
    correct_all(many)
    before, old = many.session, many.choices.model_folder
    many.training.go_on.setChecked(False)  # from an untrained model
    many.training.train()
    until(lambda: many.training.comparison is not None, 800)
    comparison = many.training.comparison
    assert many.session is before
    assert many.choices.model_folder == old
    assert comparison.n == 24
    right = [a == b for a, b in zip(many.truth, before.table["class"], strict=True)]
    assert comparison.old == pytest.approx(pd.Series(right).groupby(many.truth).mean().mean())
    assert comparison.old_has_seen == 0
    assert comparison.new > 0.8
    assert str(many.training.out) == many.training.models.itemData(0)
    many.training.use_button.click()
    until(lambda: many.session not in (before, None), 60)
    assert Path(many.choices.model_folder) == many.training.out
    assert many.choices.spec.finding.channel == "DNA"
    assert len(many.classes.true_classes) == 24  # the same cells keep their classes
    right = [a == b for a, b in zip(many.truth, many.session.table["class"], strict=True)]
    assert np.mean(right) > 0.8
    new, cells = many.training.out, cells_of_training(many.training.out)
    again = compare(new, cells, many.session.model, new, lambda *_: None)
    assert again.old_has_seen == 24
    assert "it has learned from 24 of them" in again.text()


def test_a_cancelled_training_ends_by_a_signal_and_leaves_no_model(
    many: ExplainWidget, until: Until
) -> None:
    correct_all(many)
    many.training.train()
    process = many.training.process
    ended: list[int] = []
    process.ended.connect(lambda status, output: ended.append(status))
    until(lambda: process.running)
    many.training.cancel()
    until(lambda: many.training.train_button.isEnabled())
    assert ended == [-1]  # a training that was waited for would end with status 0
    assert not process.running
    assert "cancelled" in many.status.text()
    assert not many.project.models()


def test_a_training_that_fails_gives_the_reason_of_the_command(
    many: ExplainWidget, until: Until, shown_errors: list[str]
) -> None:
    correct_all(many)
    many.training._model_folder = "/nowhere"
    many.training.train()
    until(lambda: shown_errors, 120)
    assert "nowhere" in shown_errors[0]
    assert "please report" not in shown_errors[0].lower()
