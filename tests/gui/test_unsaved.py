"""Corrections that cannot be written: it is said, and asked before they would be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from napari_cellcam.explain_dock import unsaved
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.project import Project
from qtpy.QtWidgets import QWidget
from support.window import Until, classified

pytestmark = pytest.mark.gui


@pytest.fixture
def corrected(widget: ExplainWidget, until: Until, tmp_path: Path) -> ExplainWidget:
    """The widget with a correction whose folder cannot be made: a file is in its way."""
    (tmp_path / "file").touch()
    widget.project_button.use(Project(tmp_path / "file" / "project"))
    classified(widget, until)
    widget.classes.assign("M", [1])
    return widget


def answers(monkeypatch: pytest.MonkeyPatch, *given: Path | None) -> None:
    left: Iterator[Path | None] = iter(given)
    monkeypatch.setattr(unsaved, "_ask", lambda *_: next(left))


def test_work_goes_on_and_the_status_says_what_is_wrong(corrected: ExplainWidget) -> None:
    assert corrected.classes.true_classes == {1: "M"}
    assert "cannot be written: Not a directory" in corrected.status.text()


def test_the_window_stays_open_until_they_are_saved_or_given_up(
    corrected: ExplainWidget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    window = QWidget()
    corrected.close_question.release()
    monkeypatch.setattr(corrected, "window", lambda: window)
    corrected.close_question.watch()
    window.show()
    answers(monkeypatch, None)
    assert not window.close()
    answers(monkeypatch, tmp_path / "file" / "again", None)  # no better: asked again
    assert not window.close()
    answers(monkeypatch, tmp_path / "elsewhere")
    assert window.close()
    table = pd.read_csv(tmp_path / "elsewhere" / "corrections.csv")
    assert table["cls"].tolist() == ["M"]
    assert (tmp_path / "elsewhere" / "crops" / table["crop"].item()).is_file()


def test_they_can_be_given_up(corrected: ExplainWidget, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, Path())
    assert corrected.project_button.may_be_left()


def test_an_empty_project_leaves_no_folder(widget: ExplainWidget) -> None:
    assert widget.project_button.may_be_left()
    assert not widget.project.folder.exists()


def test_nothing_is_asked_when_all_is_on_disk(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    classified(widget, until)
    widget.classes.assign("M", [1])
    answers(monkeypatch)  # to ask would fail
    assert widget.project_button.may_be_left()
