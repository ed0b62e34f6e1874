"""Explanations by choice, and of some cells only: what is shown says so, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.result_layers import is_result
from napari_cellcam.state.cell_card import explained_card
from napari_cellcam.state.differences import DIFFERENCE, difference_maps
from napari_cellcam.state.evidence import OWN_CALL
from napari_cellcam.state.explanation_choices import ExplanationChoices
from napari_cellcam.state.project import Project
from qtpy.QtCore import QItemSelectionModel
from support.brute_force import integrated_gradcam
from support.window import Until, classified, click, explain

pytestmark = pytest.mark.gui


def evidence_layers(widget: ExplainWidget) -> list[str]:
    """Names of the layers with evidence that are seen, or could be by a click on their eye."""
    layers = [layer for layer in widget.viewer.layers if is_result(layer)]
    shown = [layer for layer in layers if layer.visible and layer.name == "image in grey"]
    shown += [layer for layer in layers if layer.name == "evidence" and np.any(layer.data)]
    return [layer.name for layer in shown]


def select(widget: ExplainWidget, rows: list[int]) -> None:
    """Select rows of the table."""
    flags = QItemSelectionModel.SelectionFlag
    widget.table.clearSelection()
    for row in rows:
        index = widget.table.model().index(widget.table.model().screen_row(row), 0)
        widget.table.selectionModel().select(index, flags.Select | flags.Rows)


def choose(box: object, text: str) -> None:
    """Choose the entry that begins with a text."""
    texts = [box.itemText(i) for i in range(box.count())]
    box.setCurrentIndex(next(i for i, t in enumerate(texts) if t.startswith(text)))


def test_only_the_selected_cells_are_explained(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    explain(widget, until)
    whole = widget.results.evidence.maps[OWN_CALL]
    widget.selected_only.setChecked(True)
    select(widget, [1])
    explain(widget, until)
    evidence = widget.results.evidence
    image = session.cells_image
    assert not evidence.maps[OWN_CALL][image == 1].any()
    np.testing.assert_allclose(evidence.maps[OWN_CALL][image == 2], whole[image == 2], rtol=1e-3)
    assert np.isnan(session.table["importance_error"]).tolist() == [True, False]
    assert np.isnan(session.table["inside"]).tolist() == [True, False]
    assert (session.table["probability"] > 0).all()
    assert evidence.largest == pytest.approx(float(evidence.maps[OWN_CALL].max()))
    assert widget.status.text().startswith("1 of 2 cells")
    assert "1 of 2 cells" in widget.evidence.about.text()
    assert widget.table.selected_rows() == [1]
    # What is computed afterwards is about the same cells.
    widget.evidence.choice.setCurrentText(DIFFERENCE)
    until(lambda: not widget.busy and evidence.is_signed)
    assert not evidence.maps[DIFFERENCE][image == 1].any()
    assert evidence.maps[DIFFERENCE][image == 2].any()
    widget.selected_only.setChecked(False)
    explain(widget, until)
    assert not widget.evidence.about.text()


def test_without_a_selection_nothing_is_explained(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    widget.selected_only.setChecked(True)
    widget.explain()
    assert not widget.busy
    assert "Select cells first" in widget.status.text()


def test_choices_begin_as_the_model_says(widget: ExplainWidget, until: Until) -> None:
    panel = widget.explaining
    assert panel.choices() == ExplanationChoices()
    assert panel.formula.currentText() == "complete (model)"
    assert panel.baseline.currentText() == "background (model)"
    assert not panel.back.isEnabled()
    session = classified(widget, until)
    layers = [panel.layer.itemText(i).split()[0] for i in range(panel.layer.count())]
    assert layers == list(session.model.layers)
    assert panel.layer.currentText() == "features.1 (model)"
    for choice in (panel.formula, panel.baseline, panel.layer, panel.integration):
        sentences = set()
        for i in range(choice.count()):
            choice.setCurrentIndex(i)
            sentences.add(choice.sentence.text())
            assert choice.sentence.text().endswith(".")
        # Layers of the same shape say the same.
        assert len(sentences) == (3 if choice is panel.layer else choice.count())
    panel.back.click()
    assert panel.choices() == ExplanationChoices()
    assert panel.layer.currentText() == "features.1 (model)"


@pytest.mark.parametrize("baseline", ["black", "background"])
def test_the_paper_s_sum_at_another_layer_is_what_it_says(
    widget: ExplainWidget, until: Until, baseline: str
) -> None:
    session = classified(widget, until)
    panel = widget.explaining
    other = next(name for name in session.model.layers if name != "features.1")
    choose(panel.formula, "paper")
    choose(panel.baseline, baseline)
    choose(panel.layer, other)
    choose(panel.integration, "the paper")
    panel.steps.setValue(7)
    explain(widget, until)
    model = session.model
    shown = widget.results.evidence.maps[OWN_CALL]
    for row in range(2):
        x = model.normalised(session.crop(row)[None])
        if baseline == "black":
            start = model.black().expand_as(x)
        else:
            edge = np.concatenate([x[0, :, 0], x[0, :, -1], x[0, :, 1:-1, 0], x[0, :, 1:-1, -1]], 1)
            level = np.sort(edge, axis=1)[:, (edge.shape[1] - 1) // 2]
            start = x.new_tensor(level).view(1, -1, 1, 1).expand_as(x)
        called = int(session.probabilities()[row].argmax())
        truth = integrated_gradcam(model.network, other, x, start, called, 7).numpy()
        y, across = np.nonzero(session.cells_image == row + 1)
        centre = session.found[0].cells_at_scale.centres[row]
        first = np.floor(centre - 8 + 1).astype(int)
        values = truth[y - first[0], across - first[1]]
        np.testing.assert_allclose(shown[y, across], values, atol=1e-4 * max(1e-6, truth.max()))
    text = widget.evidence.about.text()
    assert f"paper formula at {other}, from {baseline}, 7 steps" in text


def test_evidence_of_other_choices_leaves_the_canvas_and_comes_back(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    explain(widget, until)
    first = widget.results.evidence.maps[OWN_CALL]
    errors = session.table["importance_error"].tolist()
    choose(widget.explaining.baseline, "black")
    assert widget.results.evidence is None
    until(lambda: not widget.busy)
    assert evidence_layers(widget) == []
    assert not widget.evidence.isVisible()
    assert np.isnan(widget.session.table["importance_error"]).all()
    assert "put away" in widget.status.text()
    assert "not as the model says" in widget.explaining.heading.text()
    explain(widget, until)
    second = widget.results.evidence.maps[OWN_CALL]
    assert np.abs(second - first).max() > 1e-3 * first.max()
    choose(widget.explaining.baseline, "background")
    until(lambda: not widget.busy and evidence_layers(widget))
    assert widget.results.evidence.maps[OWN_CALL] is first
    assert widget.session.table["importance_error"].tolist() == errors
    choose(widget.explaining.baseline, "black")
    until(lambda: not widget.busy and evidence_layers(widget))
    assert widget.results.evidence.maps[OWN_CALL] is second
    assert sorted(evidence_layers(widget)) == ["evidence", "image in grey"]


def test_choices_changed_in_quick_succession_leave_nothing_behind(
    widget: ExplainWidget, until: Until
) -> None:
    classified(widget, until)
    explain(widget, until)
    for baseline in ("black", "blur", "background", "black"):
        choose(widget.explaining.baseline, baseline)
    until(lambda: not widget.busy)
    assert evidence_layers(widget) == []
    choose(widget.explaining.baseline, "background")
    until(lambda: not widget.busy)
    assert sorted(evidence_layers(widget)) == ["evidence", "image in grey"]


def test_the_card_follows_the_choices_and_says_so(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    click(widget, (20, 15))
    until(lambda: not widget.busy)
    before = widget.card.shown
    assert before.settings == ""
    choose(widget.explaining.baseline, "black")
    until(lambda: not widget.busy and widget.card.shown.class_maps)
    after = widget.card.shown
    assert after.row == before.row
    assert "from black" in after.settings
    size = np.abs(before.difference.map).max()
    assert np.abs(after.difference.map - before.difference.map).max() > 1e-3 * size
    # Card and canvas are explained in the same way.
    found = difference_maps(session, None, False, lambda *_: None)
    again = explained_card(session, after.row, None, lambda *_: None)
    np.testing.assert_array_equal(again.difference.map, after.difference.map)
    y, x = np.nonzero(session.cells_image == after.row + 1)
    centre = session.found[0].cells_at_scale.centres[after.row]
    first = np.floor(centre - 8 + 1).astype(int)
    np.testing.assert_allclose(
        found.maps[DIFFERENCE][y, x],
        after.difference.map[y - first[0], x - first[1]],
        atol=1e-3 * size,
    )


def test_choices_belong_to_their_model(
    widget: ExplainWidget, until: Until, make_folder: Callable[..., Path]
) -> None:
    first = widget.choices.model_folder
    classified(widget, until)
    explain(widget, until)
    choose(widget.explaining.formula, "paper")
    widget.choices.choose_model(str(make_folder(formula="paper", baseline="black")))
    assert widget.explaining.choices() == ExplanationChoices()
    assert widget.explaining.formula.currentText() == "paper (model)"
    assert widget.explaining.baseline.currentText() == "black (model)"
    widget.choices.choose_model(first)
    until(lambda: not widget.busy)
    assert widget.explaining.choices() == ExplanationChoices(formula="paper")
    assert widget.session.explaining == ExplanationChoices(formula="paper")
    assert widget.results.evidence is None
    widget.explaining.back.click()
    until(lambda: not widget.busy and evidence_layers(widget))
    assert widget.results.evidence.evidence.choices == ExplanationChoices()


def test_the_command_says_the_error_and_lists_the_rest(widget: ExplainWidget, until: Until) -> None:
    panel = widget.explaining
    panel.error.setValue(4)
    assert "--rtol 0.04" in widget.copy_command()
    classified(widget, until)
    explain(widget, until)
    panel.back.click()
    until(lambda: not widget.busy)
    assert "--rtol" not in widget.copy_command()
    choose(panel.formula, "paper")
    choose(panel.baseline, "blur")
    choose(panel.integration, "the paper")
    widget.selected_only.setChecked(True)
    until(lambda: not widget.busy)
    command = widget.copy_command()
    for word in ("paper", "blur"):
        assert word not in command
    text = widget.status.text()
    assert "formula paper" in text
    assert "baseline blur" in text
    assert "20 steps" in text
    assert "Only the selected cells" in text


def test_another_error_keeps_the_calls(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    errors = {}
    for percent in (30, 1):
        widget.explaining.error.setValue(percent)
        assert widget.session is session
        explain(widget, until)
        errors[percent] = session.table["importance_error"]
        assert f"error {percent} %" in widget.evidence.about.text()
    assert (errors[30] <= 0.3).all()
    assert (errors[1] < errors[30] / 2).all()


def test_the_choices_are_no_wider_than_the_dock(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    widget.explaining.heading.setChecked(True)
    choose(widget.explaining.integration, "the paper")
    until(lambda: not widget.busy)
    assert widget.explaining.minimumSizeHint().width() <= 335


def test_a_project_remembers_how_cells_are_explained(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    widget.classes.assign(session.spec.classes[0], [0])
    panel = widget.explaining
    choose(panel.formula, "paper")
    other = next(name for name in session.model.layers if name != session.spec.target_layer)
    choose(panel.layer, other)
    until(lambda: not widget.busy)
    folder = widget.project.folder
    chosen = panel.choices()
    # As in a new window: nothing is known of the model's layers yet.
    widget.project_button.use(Project(folder.parent / "another"))
    panel.reset()
    panel._layers.clear()
    widget.project_button.open_project(folder)
    assert chosen == panel.choices()
    assert panel.formula.currentText() == "paper"
    assert panel.layer.currentText() == other
    assert "not as the model says" in panel.heading.text()
    until(lambda: not widget.busy)
