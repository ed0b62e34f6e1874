"""What is on the screen is about the present choices: image, model and how cells are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.result_layers import is_result
from support.window import PLACEMENT, TWO_CENTRES, Until, classified, click, discs, explain

pytestmark = pytest.mark.gui


def results_in(widget: ExplainWidget) -> list[str]:
    """Names of the result layers in the viewer."""
    return [layer.name for layer in widget.viewer.layers if is_result(layer)]


def test_results_go_when_the_model_changes_and_come_back_with_it(
    widget: ExplainWidget, until: Until, make_folder: Callable[..., Path]
) -> None:
    first = widget.choices.model_folder
    session = classified(widget, until)
    explain(widget, until)
    shown = results_in(widget)
    click(widget, (20, 40))
    widget.choices.choose_model(str(make_folder()))
    until(lambda: not results_in(widget))
    assert widget.session is None
    assert widget.table.model().rowCount() == 0
    assert not widget.explain_button.isEnabled()
    assert "the model has changed" in widget.status.text()
    widget.choices.choose_model(first)
    assert widget.session is session
    assert results_in(widget) == shown
    assert widget.table.model().rowCount() == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.choices.diameter.setValue(9),
        lambda w: w.choices.threshold.setValue(50),
        lambda w: setattr(w.viewer.layers["DNA"], "scale", (0.4, 0.4)),
        lambda w: setattr(w.viewer.layers["DNA"], "data", discs((40, 60), TWO_CENTRES[:1])),
        lambda w: w.choices.sources["actin"].setCurrentText("DNA"),
        lambda w: w.viewer.layers.remove("actin"),
        lambda w: w.choices.axes.setText("XY"),
    ],
    ids=["diameter", "threshold", "scale", "pixels", "channel", "closed", "axes"],
)
def test_results_go_when_what_they_are_about_changes(
    widget: ExplainWidget, until: Until, change: Callable[[ExplainWidget], object]
) -> None:
    classified(widget, until)
    explain(widget, until)
    change(widget)
    until(lambda: not results_in(widget))
    assert widget.session is None
    widget.explain()
    assert not widget.busy


def test_a_new_name_and_a_look_elsewhere_change_nothing(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    widget.viewer.layers["DNA"].name = "nuclei"
    widget.viewer.layers["actin"].contrast_limits = (0, 99)
    widget.viewer.layers["actin"].visible = False
    widget.choices.classes.setCurrentText("all classes")
    assert widget.session is session
    assert results_in(widget)


def test_painting_in_the_labels_puts_their_results_away(
    widget: ExplainWidget, until: Until
) -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[15:25, 10:20], labels[15:25, 35:45] = 7, 3
    mine = widget.viewer.add_labels(labels, name="mine", **PLACEMENT)
    widget.choices.cells.setCurrentText("mine")
    classified(widget, until)
    mine.paint((30, 30), 9)
    assert widget.session is None
    classified(widget, until)
    mine.undo()
    assert widget.session is None


def test_results_of_choices_that_changed_meanwhile_are_not_shown(
    widget: ExplainWidget, until: Until
) -> None:
    widget.classify()
    widget.choices.diameter.setValue(9)
    until(lambda: not widget.busy)
    assert widget.session is None
    assert not results_in(widget)


def test_active_layer_selection_and_camera_are_given_back(
    widget: ExplainWidget, until: Until
) -> None:
    viewer = widget.viewer
    viewer.layers.selection.active = viewer.layers["DNA"]
    viewer.scene.camera.center, viewer.scene.camera.zoom = (3.0, 4.0), 7.0
    for action in (classified, explain):
        action(widget, until)
        assert viewer.layers.selection.active.name == "DNA"
        assert {layer.name for layer in viewer.layers.selection} == {"DNA"}
        assert tuple(viewer.scene.camera.center)[-2:] == (3.0, 4.0)
        assert viewer.scene.camera.zoom == 7.0


def test_a_click_counts_whichever_layer_is_active(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    explain(widget, until)
    for name in ("DNA", "cells by class", *[layer.name for layer in widget.results.maps]):
        widget.viewer.layers.selection.active = widget.viewer.layers[name]
        click(widget, (20, 40))
        assert widget.table.selected_rows() == [int(widget.results.cells.data[20, 40]) - 1]
        click(widget, (20, 15))
        assert widget.table.selected_rows() == [int(widget.results.cells.data[20, 15]) - 1]
