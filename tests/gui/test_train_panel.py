"""Classes given by hand, saved and loaded, and a training in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PLACE, discs
from napari_cellcam.annotations import suggest_cells

pytestmark = pytest.mark.gui
Until = Callable[..., None]


@pytest.fixture
def many(widget: Any, until: Until) -> Any:
    """The widget with 24 cells, every second one bright in actin, classified by chance."""
    centres = [(y, x) for y in range(12, 120, 24) for x in range(12, 120, 24)][:24]
    widget.viewer.layers.clear()
    actin = discs((120, 130), centres[::2])
    for name, image in {"DNA": discs((120, 130), centres), "actin": actin}.items():
        widget.viewer.add_image(image, name=name, **PLACE)
    widget.classify()
    until(lambda: not widget.cancel_button.isEnabled())
    assert len(widget.session.table) == 24
    widget.truth = [
        "M" if actin[round(y), round(x)] > 100 else "G1"
        for y, x in zip(widget.session.table["y"], widget.session.table["x"], strict=True)
    ]
    return widget


def test_classes_are_given_to_the_selected_cells(many: Any) -> None:
    many.table.sortByColumn(0, many.table.horizontalHeader().sortIndicatorOrder())
    many.table.selectAll()
    many.training.assign("M")
    assert many.training.true_classes == dict.fromkeys(range(24), "M")
    assert (many.session.table["said"] == "M").all()
    colours = many.results.cells.colormap.color_dict
    assert all(np.allclose(colours[i], colours[1]) for i in range(2, 25))


def test_suggestions_are_doubtful_and_differ(many: Any) -> None:
    margins = many.session.table["margin"].to_numpy()
    (first,) = suggest_cells(many.session, {})
    assert first == margins.argmin()
    others = suggest_cells(many.session, {first: "M"}, 3)
    assert len(set(others)) == 3
    assert first not in others
    assert suggest_cells(many.session, dict.fromkeys(range(24), "M")) == []


def test_what_was_saved_can_be_loaded_and_trained_on(many: Any, tmp_path: Path) -> None:
    many.training.assign("M", [3, 5])
    many.training.assign("G1", [7])
    many.training.save(str(tmp_path))
    table = pd.read_csv(tmp_path / "cells.csv")
    assert table["cls"].tolist() == ["M", "M", "G1"]
    assert table["y"].tolist() == pytest.approx(many.session.table["y"].iloc[[3, 5, 7]].tolist())
    many.training.true_classes = {}
    many.training.load(str(tmp_path / "cells.csv"))
    assert many.training.true_classes == {3: "M", 5: "M", 7: "G1"}


def test_training_goes_on_with_the_new_model(many: Any, until: Until, tmp_path: Path) -> None:
    for row, name in enumerate(many.truth):
        many.training.assign(name, [row])
    many.training.train(str(tmp_path))
    before = many.session
    until(lambda: many.session is not before, 240)
    assert Path(many.choices.model_folder) == tmp_path / "model"
    assert many.choices.spec.finding.channel == "DNA"
    assert len(many.training.true_classes) == 24  # the same cells keep the classes they were given
    right = [a == b for a, b in zip(many.truth, many.session.table["class"], strict=True)]
    assert np.mean(right) > 0.9


def test_a_training_is_cancelled_within_a_second(many: Any, until: Until, tmp_path: Path) -> None:
    for row, name in enumerate(many.truth):
        many.training.assign(name, [row])
    many.training.train(str(tmp_path))
    until(lambda: many.training.command.running)
    started = time.monotonic()
    many.training.cancel()
    until(lambda: many.training.train_button.isEnabled())
    assert time.monotonic() - started < 3  # a second to end by itself, then by force
    assert "cancelled" in many.status.text()
    assert not (tmp_path / "model").exists()


def test_a_training_that_cannot_be_says_why(
    many: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_error", told.append)
    many.training.with_calls.setChecked(False)
    many.training.train(str(tmp_path))
    assert "No cell has a class yet" in told[0]
    many.training.assign("M", [1, 2, 3])
    many.training.train(str(tmp_path))
    until(lambda: len(told) > 1, 120)
    assert "one class only" in told[1]
