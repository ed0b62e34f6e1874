"""Evidence on the canvas: one map over a grey image, its controls, and the selected cell."""

from __future__ import annotations

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.cell_mark import CellMark
from napari_cellcam.state.evidence import OWN_CALL
from qtpy.QtCore import Qt
from support.window import Until, classified, explain

pytestmark = pytest.mark.gui


@pytest.fixture
def explained(widget: ExplainWidget, until: Until) -> ExplainWidget:
    """The widget with the evidence for all classes."""
    classified(widget, until)
    widget.choices.classes.setCurrentText("all classes")
    explain(widget, until)
    return widget


def test_each_cell_shows_the_evidence_for_its_own_call(explained: ExplainWidget) -> None:
    maps = explained.results.evidence.maps
    image = explained.results.cells.data
    for row, name in enumerate(explained.session.table["class"]):
        inside = image == row + 1
        np.testing.assert_array_equal(maps[OWN_CALL][inside], maps[name][inside])
    assert list(maps) == [OWN_CALL, *[n for n in explained.session.spec.classes if n in maps]]


def test_the_image_is_grey_under_the_evidence_and_keeps_its_own_settings(
    explained: ExplainWidget,
) -> None:
    layers = explained.viewer.layers
    names = [layer.name for layer in layers]
    assert names[-4:] == ["image in grey", "evidence", "cells by class", "selected cell"]
    assert [layers[name].visible for name in names] == [True] * 6
    grey = explained.results.evidence.grey
    cells = np.asarray(explained.results.cells.data) > 0
    assert grey.data[cells].mean() > 3 * grey.data[~cells].mean()
    assert grey.data.max() <= 150  # dim: evidence stands out


def test_one_key_switches_evidence_and_image(explained: ExplainWidget, qtbot: object) -> None:
    evidence = explained.results.evidence
    for shown in (False, True):
        qtbot.keyClick(explained.table, Qt.Key.Key_E)
        assert (evidence.grey.visible, evidence.layer.visible) == (shown, shown)
        assert explained.evidence.switch.isChecked() == shown
        assert explained.viewer.layers["DNA"].visible


def test_a_class_can_be_chosen_and_has_the_shared_or_its_own_scale(
    explained: ExplainWidget,
) -> None:
    panel, evidence = explained.evidence, explained.results.evidence
    largest = {name: float(image.max()) for name, image in evidence.maps.items()}
    for name in evidence.maps:
        panel.choice.setCurrentText(name)
        np.testing.assert_array_equal(evidence.layer.data, evidence.maps[name])
        assert evidence.layer.metadata["cellcam"]["class"] == name
        for shared, end in ((False, largest[name]), (True, max(largest.values()))):
            panel.shared.setChecked(shared)
            assert tuple(evidence.layer.contrast_limits) == pytest.approx((0, end))
            assert panel.bar.largest == pytest.approx(end)
    panel.opacity.setValue(30)
    assert evidence.layer.opacity == pytest.approx(0.3)


def test_in_three_dimensions_the_grey_image_hides_nothing(explained: ExplainWidget) -> None:
    evidence = explained.results.evidence
    explained.viewer.dims.ndisplay = 3
    assert not evidence.grey.visible
    assert evidence.layer.visible
    explained.viewer.dims.ndisplay = 2
    assert evidence.grey.visible


def test_the_selected_cell_has_a_ring_around_it(explained: ExplainWidget) -> None:
    for row in range(2):
        explained.go_to_cell(row)
        mark = explained.viewer.layers["selected cell"]
        cell = np.argwhere(np.asarray(explained.results.cells.data) == row + 1)
        ring = np.array([mark.data_to_world(p) for p in np.argwhere(np.asarray(mark.data))])
        world = np.array([explained.results.cells.data_to_world(p) for p in cell])
        # Two pixels of 0.5 um wider than the cell on every side.
        np.testing.assert_allclose(ring.min(0), world.min(0) - 1.0, atol=1e-6)
        np.testing.assert_allclose(ring.max(0), world.max(0) + 1.0, atol=1e-6)


@pytest.mark.parametrize("at", [(0, 0), (200, 250), (395, 250)])
def test_the_mark_of_a_large_cell_or_one_at_the_edge_is_whole(
    explained: ExplainWidget, at: tuple[int, int]
) -> None:
    image = np.zeros((400, 500), np.int32)
    y, x = at
    image[max(0, y - 90) : y + 90, max(0, x - 10) : x + 10] = 7
    place = {"scale": (1.0, 1.0), "translate": (0.0, 0.0)}
    mark = CellMark(explained.viewer, image, place, {"model": "m"}, is_volume=False)
    mark.show(7, (y, x))
    first = np.asarray(mark.layer.translate, int)
    shown = np.zeros_like(image)
    data = np.asarray(mark.layer.data)
    shown[first[0] : first[0] + data.shape[0], first[1] : first[1] + data.shape[1]] = data
    assert (shown[image == 7] == 1).all()
    assert 0 < shown.sum() - (image == 7).sum() < 2 * 2 * (180 + 20) + 100
    mark.remove()
