"""True classes from the user, saved and loaded, and a training in a child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.annotations import suggest_cells
from support.window import PLACEMENT, Until, discs

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
    until(lambda: not widget.cancel_button.isEnabled())
    assert len(widget.session.table) == 24
    widget.truth = [
        "M" if actin[round(y), round(x)] > 100 else "G1"
        for y, x in zip(widget.session.table["y"], widget.session.table["x"], strict=True)
    ]
    return widget


def test_classes_are_assigned_to_the_selected_cells(many: ExplainWidget) -> None:
    many.table.sortByColumn(0, many.table.horizontalHeader().sortIndicatorOrder())
    many.table.selectAll()
    many.training.assign("M")
    assert many.training.true_classes == dict.fromkeys(range(24), "M")
    assert (many.session.table["true class"] == "M").all()
    colours = many.results.cells.colormap.color_dict
    assert all(np.allclose(colours[i], colours[1]) for i in range(2, 25))


def test_suggested_cells_are_doubtful_and_diverse(many: ExplainWidget) -> None:
    margins = many.session.table["margin"].to_numpy()
    (first,) = suggest_cells(many.session, {})
    assert first == margins.argmin()
    others = suggest_cells(many.session, {first: "M"}, 3)
    assert len(set(others)) == 3
    assert first not in others
    assert suggest_cells(many.session, dict.fromkeys(range(24), "M")) == []


def test_saved_classes_can_be_loaded(many: ExplainWidget, tmp_path: Path) -> None:
    many.training.assign("M", [3, 5])
    many.training.assign("G1", [7])
    many.training.save(str(tmp_path))
    table = pd.read_csv(tmp_path / "cells.csv")
    assert table["cls"].tolist() == ["M", "M", "G1"]
    assert table["y"].tolist() == pytest.approx(many.session.table["y"].iloc[[3, 5, 7]].tolist())
    many.training.true_classes = {}
    many.training.load(str(tmp_path / "cells.csv"))
    assert many.training.true_classes == {3: "M", 5: "M", 7: "G1"}


def test_cells_are_classified_again_by_the_trained_model(
    many: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    for row, name in enumerate(many.truth):
        many.training.assign(name, [row])
    many.training.train(str(tmp_path))
    before = many.session
    until(lambda: many.session not in (before, None), 240)
    assert Path(many.choices.model_folder) == tmp_path / "model"
    assert many.choices.spec.finding.channel == "DNA"
    assert len(many.training.true_classes) == 24  # the same cells keep their classes
    right = [a == b for a, b in zip(many.truth, many.session.table["class"], strict=True)]
    assert np.mean(right) > 0.9


def test_a_cancelled_training_ends_by_a_signal_and_leaves_no_model(
    many: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    for row, name in enumerate(many.truth):
        many.training.assign(name, [row])
    many.training.train(str(tmp_path))
    process = many.training.process
    ended: list[int] = []
    process.ended.connect(lambda status, output: ended.append(status))
    until(lambda: process.running)
    many.training.cancel()
    until(lambda: many.training.train_button.isEnabled())
    assert ended == [-1]  # a training that was waited for would end with status 0
    assert not process.running
    assert "cancelled" in many.status.text()
    assert not (tmp_path / "model").exists()


def test_a_training_that_cannot_run_gives_the_reason(
    many: ExplainWidget, until: Until, tmp_path: Path, shown_errors: list[str]
) -> None:
    many.training.with_sure_calls.setChecked(False)
    many.training.train(str(tmp_path))
    assert "No cell has a class yet" in shown_errors[0]
    many.training.assign("M", [1, 2, 3])
    many.training.train(str(tmp_path))
    until(lambda: len(shown_errors) > 1, 120)
    assert "one class only" in shown_errors[1]
