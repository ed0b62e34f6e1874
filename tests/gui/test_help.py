"""The help page says what is true: its keys are those that act."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from napari_cellcam.explain_dock import explain_widget
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.explain_dock.help_page import grouped, help_page
from napari_cellcam.widgets.keyboard import KeyAction
from qtpy.QtWidgets import QTextBrowser
from support.window import Until, classified

pytestmark = pytest.mark.gui

WINDOW_PAGE = Path(__file__).parents[2] / "docs" / "window.md"


def nothing() -> None:
    """What a key does."""


def keys_in(cells: list[str]) -> set[str]:
    """Single keys of the first column of a table of keys."""
    found: set[str] = set()
    for cell in cells:
        if match := re.fullmatch(r"(\d) to (\d)", cell):
            found |= {str(i) for i in range(int(match[1]), int(match[2]) + 1)}
        else:
            found |= set(cell.split(", "))
    return found


def test_every_key_that_acts_is_on_the_page_and_no_other(
    widget: ExplainWidget, until: Until, qtbot: object
) -> None:
    classified(widget, until)
    window = widget.help_button.open_help()
    text = window.findChild(QTextBrowser).toPlainText()
    assert not window.isModal()
    lines = [line.strip() for line in text.splitlines()]
    assert {"Keys and mouse", "Colours", "Numbers", "Files"} <= set(lines)
    between = lines[lines.index("Keys and mouse") : lines.index("Colours")]
    acts = {*widget.keys._by_key, *(action.key for action in widget.table_export.keys)}
    shown = keys_in([line for line in between if re.match(r"^([A-Z]$|\d to|Ctrl|Back)", line)])
    assert shown == acts
    window.close()


def test_the_table_of_keys_in_the_documents_is_that_of_the_code(widget: ExplainWidget) -> None:
    cells = re.findall(r"^\| (`.*?) \|", WINDOW_PAGE.read_text("utf-8"), re.MULTILINE)
    acts = {*widget.keys._by_key, *(action.key for action in widget.table_export.keys)}
    assert keys_in([cell.replace("`", "") for cell in cells]) == acts


def test_the_keys_in_the_status_bar_act(widget: ExplainWidget) -> None:
    cells = [part.split(": ")[0] for part in explain_widget._KEY_HELP.split(", ")]
    found = keys_in([key for cell in cells for key in ([cell] if "to" in cell else cell.split())])
    assert found <= set(widget.keys._by_key)
    assert {"1", "9", "N", "P", "E", "Ctrl+Z"} <= found


def test_keys_of_one_meaning_stand_together() -> None:
    keys = [KeyAction(str(i), "true class", nothing) for i in range(1, 10)]
    keys += [KeyAction(key, "none", nothing) for key in ("Backspace", "Del")]
    assert grouped(keys) == {"1 to 9": "true class", "Backspace, Del": "none"}


def test_six_steps_the_numbers_and_the_folders_are_explained() -> None:
    page = help_page([], Path("/home/me/CellCam/mine"), "/models/a<b")
    assert page.count("<li>") == 6
    for word in ("importance", "error", "lead", "margin", "/home/me/CellCam/mine", "a&lt;b"):
        assert word in page


def test_the_button_opens_one_window_only(widget: ExplainWidget, until: Until) -> None:
    first = widget.help_button.open_help()
    first.close()
    widget.help_button.click()
    assert first.isVisible()
    assert widget.help_button.open_help() is first
    first.close()
