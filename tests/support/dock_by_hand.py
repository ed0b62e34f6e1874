"""What a person does with the dock in the real window, and reads from it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from support.real_window import RealWindow
from support.window import CLASSIFY_TITLE

DOCK = "find('ExplainWidget')"
TABLE = f"{DOCK}.table"
CELLS = "viewer.layers['cells by class']"
CANVAS = "viewer.window._qt_viewer.canvas.native"
RESULTS = (
    "[l.name for l in viewer.layers if l.visible and 'model' in l.metadata.get('cellcam', {})]"
)


def open_dock(window: RealWindow) -> None:
    """Open the dock through the menu."""
    window.step("open the dock")
    window.menu("Layers", "Classify", CLASSIFY_TITLE)
    window.until(DOCK)


def press(window: RealWindow, button: str) -> None:
    """Press a button of the dock and wait for its result."""
    window.step(button)
    window.click(f"find(QPushButton, {button!r})")
    window.until(f"not {DOCK}.busy", 120)


def classify(window: RealWindow) -> None:
    press(window, "Classify")
    window.until(f"{CELLS}.visible and {TABLE}.model().rowCount() > 0")


def explain(window: RealWindow) -> None:
    before = window.value("len(viewer.layers)")
    press(window, "Explain")
    window.until(f"len(viewer.layers) > {before} and not {DOCK}.busy", 120)


def click_cell(window: RealWindow, number: int) -> None:
    """Click the cell ``number`` of the cells' layer on the canvas."""
    window.click(f"inside_label({CELLS}, {number})")


def click_background(window: RealWindow) -> None:
    """Click the canvas beside the cells: keyboard focus is there."""
    window.click("pixel(viewer.layers['DNA'], *viewer.dims.current_step[:-2], 3, 3)")
    window.until("viewer.window._qt_viewer.canvas.native.hasFocus()")


def click_layer(window: RealWindow, name: str) -> None:
    """Make a layer the active one, by its entry in the list (the topmost layer comes first)."""
    row = window.value(f"len(viewer.layers) - 1 - viewer.layers.index({name!r})")
    window.click(f"item(find('QtLayerList'), {row})")
    window.until(f"viewer.layers.selection.active.name == {name!r}", 20)


def cell_on_card(window: RealWindow) -> int | None:
    """Number of the cell that the card speaks of."""
    text = window.value(f"' '.join(text_of(w) for w in {DOCK}.card.findChildren(QLabel))")
    told = re.search(r"Cell (\d+)", text)
    return int(told[1]) if told else None


def wait_for_card(window: RealWindow, label: int) -> None:
    labels = f"[text_of(w) for w in {DOCK}.card.findChildren(QLabel) if w.isVisible()]"
    window.until(f"any('Cell {label}' in text for text in {labels})", 20)
    assert cell_on_card(window) == label


def column(window: RealWindow, name: str) -> list[Any]:
    """A column of the table, as sorted on the screen; empty if it is not there."""
    return window.value(f"""(lambda model: [
        model.data(model.index(row, column))
        for column in range(model.columnCount())
        if model.headerData(column, QtCore.Qt.Orientation.Horizontal) == {name!r}
        for row in range(model.rowCount())
    ])({TABLE}.model())""")


def wait_for_true_classes(window: RealWindow, expected: dict[int, str]) -> None:
    """Wait until these rows, as sorted on the screen, have these corrections, and no others."""
    end = time.monotonic() + 20
    while (shown := _not_empty(column(window, "true class"))) != expected:
        assert time.monotonic() < end, shown


def _not_empty(texts: list[str]) -> dict[int, str]:
    return {row: text for row, text in enumerate(texts) if text}


def click_row(window: RealWindow, row: int) -> int:
    """Click a row of the table; return the number of its cell."""
    window.click(f"item({TABLE}, {row})")
    return int(column(window, "label")[row])


def open_choices(window: RealWindow) -> None:
    """Unfold "What to classify"."""
    if not window.value(f"{DOCK}.choices.isVisible()"):
        window.click("find(QToolButton, 'What to classify')")
    window.until(f"{DOCK}.choices.isVisible()")


def open_file(window: RealWindow, path: Path) -> None:
    """Open a file with CellCam through the menu."""
    window.step("open a file")
    before = window.value("len(viewer.layers)")
    window.menu("File", "Open File")
    window.until("find(QFileDialog)")
    window.type(str(path))
    window.key("Return")
    window.until("find('QtReaderDialog')", 20)
    window.click("find(QRadioButton, 'CellCam')")
    window.click("find(QPushButton, 'OK')")
    window.until(f"len(viewer.layers) > {before}")


def click_at(window: RealWindow, y: float, x: float) -> None:
    """Click the canvas at world coordinates."""
    window.click(f"world({y}, {x})")


def assert_fits(window: RealWindow, dock: str) -> None:
    """Half of the window is canvas; the dock's content needs no more width than there is."""
    assert window.value(f"{CANVAS}.width() >= main.width() / 2")
    needed, there = window.value(
        f"({dock}.widget().minimumSizeHint().width(), {dock}.viewport().width())"
    )
    assert needed <= there
