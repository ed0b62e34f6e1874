"""Cells that cannot be called, in the window: what is shown instead of a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari_cellcam.explain_dock.card import Headline, Why
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.files.saved_results import cell_layers, importance_layers
from napari_cellcam.state.training_cells import suggest_cells
from qtpy.QtCore import Qt
from support.models import untrained_model
from support.mosaics import border, field_of_cells
from support.window import PLACEMENT, Until, classified, explain

from cellcam import Stack, open_stack
from cellcam.pipeline.explain_stack import explain_stack

pytestmark = pytest.mark.gui


@pytest.fixture
def mosaic(widget: ExplainWidget) -> ExplainWidget:
    """The widget beside a mosaic: label 1 has no data, 2 lies on distant pieces, 3 is a cell."""
    widget.viewer.layers.clear()
    for name, pixels in zip(("DNA", "actin"), border(field_of_cells()), strict=True):
        widget.viewer.add_image(pixels, name=name, **PLACEMENT)
    labels = np.zeros((320, 320), np.int32)
    labels[20:30, 20:30], labels[150:160, 150:160] = 1, 3
    labels[100:110, 60:70], labels[200:210, 200:210] = 2, 2
    widget.viewer.add_labels(labels, name="mine", **PLACEMENT)
    widget.choices.cells.setCurrentText("mine")
    return widget


@pytest.mark.fault("cells without a call, in the window", "no class anywhere, and why")
def test_the_card_says_why_there_is_no_call(mosaic: ExplainWidget, until: Until) -> None:
    session = classified(mosaic, until)
    assert session.calls[0] == session.calls[1] == ""
    assert session.calls[2] in ("G1", "M")
    assert "2 without a call" in mosaic.status.text()
    for row, why in ((0, "has no data here"), (1, "several distant pieces")):
        mosaic.go_to_cell(row)
        until(lambda: not mosaic.busy)
        shown = {type(panel): panel for panel in mosaic.card.panels if not panel.isHidden()}
        assert set(shown) == {Headline, Why}
        assert "No call" in shown[Headline].text()
        assert why in shown[Why].question.text()
        assert why in mosaic.classes.cell.text.text()
    mosaic.go_to_cell(2)
    until(lambda: mosaic.card.shown is not None and mosaic.card.shown.difference is not None)
    assert not mosaic.card.panels[2].isHidden()


def test_evidence_and_sorting_leave_them_out(mosaic: ExplainWidget, until: Until) -> None:
    session = classified(mosaic, until)
    explain(mosaic, until)
    assert session.table["importance_error"].notna().tolist() == [False, False, True]
    assert "1 of 3 cells are explained" in mosaic.status.text()
    model = mosaic.table.model()
    names = [model.headerData(i, Qt.Orientation.Horizontal) for i in range(model.columnCount())]
    for column in range(model.columnCount()):
        for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
            model.sort(column, order)
            if names[column] in ("prob.", "margin"):  # cells without a call come last
                assert model.data(model.index(0, column)) != ""
                assert model.data(model.index(2, column)) == ""
    assert suggest_cells(session, ()) == [2]


@pytest.mark.fault("a class for a cell without data", "it is not learned from; it is said")
def test_they_cannot_be_given_a_class(mosaic: ExplainWidget, until: Until) -> None:
    classified(mosaic, until)
    messages: list[str] = []
    mosaic.classes.message.connect(messages.append)
    mosaic.classes.assign("G1", [0, 2])
    assert mosaic.classes.true_classes == {2: "G1"}
    assert "has no data here" in messages[0]


def test_saved_results_with_them_open_again(tmp_path: Path) -> None:
    stack = Stack.from_array(border(field_of_cells()), "CYX", ["DNA", "actin"], name="mosaic")
    labels = np.zeros((320, 320), np.int32)
    labels[20:30, 20:30], labels[150:160, 150:160] = 1, 3
    explain_stack(stack, untrained_model(), tmp_path, labels=Stack.from_array(labels, "YX"))
    assert importance_layers(open_stack(tmp_path / "mosaic.maps.ome.tif"))
    ((_, attributes, _),) = cell_layers(open_stack(tmp_path / "mosaic.labels.ome.tif"))
    features = attributes["features"]
    assert features["class"].tolist()[1] == ""
    assert features["class"].tolist()[3] in ("G1", "S", "M")
