"""A classifier from nothing: no model, no pixel size, two classes, some cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.explain_dock.new_classifier import NewClassifierDialog
from napari_cellcam.state.project import Project
from support.window import PLACEMENT, Until, discs

pytestmark = pytest.mark.gui

CENTRES = [(y, x) for y in range(20, 190, 34) for x in range(20, 190, 34)]


@pytest.fixture
def empty(widget: ExplainWidget) -> ExplainWidget:
    """The widget beside two layers without pixel size: 25 cells, every second bright in both."""
    widget.viewer.layers.clear()
    widget.viewer.add_image(discs((190, 190), CENTRES), name="c1")
    widget.viewer.add_image(discs((190, 190), CENTRES[::2]), name="c2")
    return widget


def dialog_of(widget: ExplainWidget) -> NewClassifierDialog:
    """The dialog, answered: two stains, two classes."""
    layers = list(widget.viewer.layers)
    images = [layer for layer in layers if layer.name in ("c1", "c2")]
    labels = [layer for layer in layers if layer not in images]
    dialog = NewClassifierDialog(images, labels)
    for field, name in zip(dialog._names, ("DNA", "actin"), strict=True):
        field.setText(name)
    dialog._classes.setText("bright, dim")
    return dialog


def begin(widget: ExplainWidget, until: Until, dialog: NewClassifierDialog) -> None:
    """Accept the dialog, and wait for the cells."""
    widget.choices.begin_draft(dialog.answer())
    widget.choices.drafted.emit()
    until(lambda: not widget.busy and widget.session is not None)


def test_the_dialog_says_what_is_missing(empty: ExplainWidget) -> None:
    dialog = dialog_of(empty)
    assert dialog._ok.isEnabled()
    wrong = [
        (lambda: dialog._classes.setText("bright"), "at least two classes"),
        (lambda: dialog._classes.setText("a, a"), "same name"),
        (lambda: (dialog._classes.setText("a, b"), dialog._names[0].setText("actin")), "own"),
        (lambda: [used.setChecked(False) for used in dialog._used], "at least one layer"),
    ]
    for change, message in wrong:
        change()
        assert message in dialog._problem.text()
        assert not dialog._ok.isEnabled()


def test_cells_are_found_and_crops_fit_them(empty: ExplainWidget, until: Until) -> None:
    begin(empty, until, dialog_of(empty))
    session = empty.session
    assert len(session.table) == len(CENTRES)
    assert "class" not in session.table
    assert session.spec.channels == ("DNA", "actin")
    assert session.spec.pixel_size_um is None
    assert session.spec.crop_size == (32, 32)  # 1.5 times 12 pixels, but not below 32
    assert session.crop(0).shape == (2, 32, 32)
    assert not empty.explain_button.isEnabled()
    assert empty.classify_button.text() == "Find cells"
    empty.go_to_cell(3)
    assert empty.table.selected_rows() == [3]


def test_large_cells_are_seen_at_a_coarser_pixel_size(empty: ExplainWidget, until: Until) -> None:
    labels = np.zeros((190, 190), np.int32)
    labels[10:180, 10:90], labels[10:180, 100:180] = 1, 2
    empty.viewer.add_labels(labels, name="mine", **PLACEMENT)
    for name in ("c1", "c2"):
        empty.viewer.layers[name].scale = PLACEMENT["scale"]
        empty.viewer.layers[name].units = PLACEMENT["units"]
    dialog = dialog_of(empty)
    dialog._cells.setCurrentText("those of mine")
    begin(empty, until, dialog)
    spec = empty.session.spec
    assert spec.crop_size == (128, 128)
    assert spec.pixel_size_um == pytest.approx([0.5 * 1.5 * 170 / 128] * 2)


@pytest.mark.timeout(900)  # four small trainings, maybe on a busy machine
def test_a_first_classifier_is_trained_and_found_again_in_its_project(
    empty: ExplainWidget, until: Until, projects: Path
) -> None:
    begin(empty, until, dialog_of(empty))
    bright = np.asarray(empty.viewer.layers["c2"].data) > 100
    rows = empty.session.table[["y", "x"]].round().astype(int).to_numpy()
    truth = ["bright" if bright[y, x] else "dim" for y, x in rows]
    for name in ("bright", "dim"):
        chosen = [row for row, true in enumerate(truth) if true == name][:6]
        empty.classes.assign(name, chosen)
    assert empty.training.train_button.isEnabled()
    assert not empty.training.go_on.isEnabled()
    empty.training.train()
    until(lambda: empty.training.comparison is not None, 800)
    comparison = empty.training.comparison
    assert comparison.old is None
    assert comparison.n == 12
    assert not empty.training.keep_button.isVisibleTo(empty)
    draft = empty.session
    empty.training.use_button.click()
    until(lambda: empty.session not in (draft, None), 60)
    right = [a == b for a, b in zip(truth, empty.session.table["class"], strict=True)]
    assert np.mean(right) > 0.9
    assert len(empty.classes.true_classes) == 12
    project, opened = Project.open(empty.project.folder)
    assert len(project.corrections) == 12
    assert opened.model == str(project.models()[0])
    assert opened.layers == {"DNA": "c1", "actin": "c2"}
