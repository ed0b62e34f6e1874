"""The table of cells as a file and on the clipboard."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from pandas.testing import assert_frame_equal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMenu
from support.window import Until, classified, explain

from cellcam import Request, load_model
from cellcam.exchange.qupath import read_geojson
from cellcam.exchange.spans import spans_of
from cellcam.pipeline.explain_stack import explain_stack

pytestmark = pytest.mark.gui


def read(text: str, sep: str = ",") -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), sep=sep, keep_default_na=False, na_values={})


def test_the_file_is_that_of_the_command_with_the_true_classes(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    session = classified(widget, until)
    explain(widget, until)
    widget.classes.assign("M", [1])
    widget.table_export.save(tmp_path / "mine.csv")
    assert "2 cells written" in widget.status.text()
    done = explain_stack(
        session.stack,
        load_model(Path(widget.choices.model_folder), "cpu"),
        tmp_path / "command",
        Request(finder=session.request.finder),
    )
    mine = pd.read_csv(tmp_path / "mine.csv", keep_default_na=False)
    command = pd.read_csv(
        next(path for path in done.written if path.name.endswith("cells.csv")),
        keep_default_na=False,
    )
    assert list(mine) == [*command, "true class"]
    assert mine.pop("true class").tolist() == ["", "M"]
    numbers = command.select_dtypes("number").columns
    np.testing.assert_allclose(mine[numbers], command[numbers], rtol=1e-4)
    assert_frame_equal(mine.drop(columns=numbers), command.drop(columns=numbers))


def test_numbers_are_written_in_full(widget: ExplainWidget, until: Until, tmp_path: Path) -> None:
    session = classified(widget, until)
    path = tmp_path / "new folder" / "cells.csv"
    widget.table_export.save(path)
    table = pd.read_csv(path, dtype={"probability": np.float32, "margin": np.float32})
    for name in ("probability", "margin", "y", "x"):
        np.testing.assert_array_equal(table[name], session.table[name])


def test_selected_rows_are_copied_as_they_are_sorted(
    widget: ExplainWidget, until: Until, qtbot: object
) -> None:
    session = classified(widget, until)
    widget.classes.assign("G1", [0])
    widget.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    widget.table.selectAll()
    qtbot.keyClick(widget.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    copied = read(QApplication.clipboard().text(), "\t")
    assert list(copied) == list(session.table)
    assert copied["label"].tolist() == session.table["label"].tolist()[::-1]
    assert copied["true class"].tolist() == ["", "G1"]
    np.testing.assert_allclose(copied["probability"], session.table["probability"][::-1], rtol=1e-7)
    widget.table.select_cell(1)
    qtbot.keyClick(widget.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    copied = read(QApplication.clipboard().text(), "\t")
    assert copied["label"].tolist() == [session.table["label"][1]]
    assert "Copied: 1 of 2 rows" in widget.status.text()


def test_the_table_has_a_menu_and_a_button_while_there_are_cells(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[str] = []
    monkeypatch.setattr(
        QMenu, "exec", lambda menu, *_: offered.extend(a.text() for a in menu.actions())
    )
    assert widget.table_export.isHidden()
    widget.table.customContextMenuRequested.emit(widget.table.rect().center())
    assert offered == []
    classified(widget, until)
    assert not widget.table_export.isHidden()
    widget.table.customContextMenuRequested.emit(widget.table.rect().center())
    assert offered == ["Copy selected rows (Ctrl+C)", "Copy all rows", "Save table..."]
    widget.choices.diameter.setValue(9)
    assert widget.table_export.isHidden()


def test_a_file_that_cannot_be_written_is_said(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    classified(widget, until)
    (tmp_path / "file").write_text("")
    widget.table_export.save(tmp_path / "file" / "cells.csv")
    assert "could not be written" in widget.status.text()


def test_cells_are_saved_for_other_programs(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    session = classified(widget, until)
    widget.classes.assign("M", [1])
    widget.table_export.save(tmp_path / "mine.geojson")
    assert "2 cells written" in widget.status.text()
    cells = read_geojson(tmp_path / "mine.geojson")
    assert list(cells.classes) == session.table["class"].tolist()
    assert cells.remarks_about(1)["true class"] == "M"
    assert cells.numbers.tolist() == session.table["label"].tolist()
    height, width = session.stack.data.shape[-2:]
    painted = spans_of(cells.outlines, cells.numbers, (height, width)).paint(0, height, 0, width)
    np.testing.assert_array_equal(painted, session.found[0].labels)
