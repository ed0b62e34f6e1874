"""The docks in a small window: half of it is the canvas, and nothing is cut off."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from support.dock_by_hand import CANVAS, DOCK, assert_fits, classify, click_row, explain, open_dock
from support.real_window import RealWindow
from support.window import BATCH_TITLE

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(sys.platform != "linux", reason="the pointer is that of an X server"),
]


@pytest.fixture
def window() -> Iterator[RealWindow]:
    """The sample in a window of 1280 x 800, with the dock open."""
    with RealWindow(size=(1280, 800), theme="light") as window:
        window.menu("File", "Open Sample", "Simulated cells")
        window.until("len(viewer.layers) == 3")
        open_dock(window)
        yield window


def test_everything_fits_and_half_is_canvas(window: RealWindow) -> None:
    assert_fits(window, DOCK)
    window.click("find(QToolButton, 'How to explain')")
    assert_fits(window, DOCK)
    classify(window)
    explain(window)
    click_row(window, 0)
    window.until(f"{DOCK}.card.shown is not None and not {DOCK}.busy", 60)
    assert_fits(window, DOCK)
    window.open_tab("Train")
    assert_fits(window, DOCK)


def test_the_batch_dock_lies_beside_the_other_as_a_tab(window: RealWindow) -> None:
    height = window.value(f"{DOCK}.height()")
    window.menu("Layers", "Classify", BATCH_TITLE)
    window.until("find('BatchWidget')")
    window.until("find_all(QTabBar) and tab('Classify and explain cells')", 20)
    assert window.value("find('BatchWidget').height()") > 0.9 * height
    assert window.value(f"{CANVAS}.width() >= main.width() / 2")
    window.open_tab("Classify and explain cells")
    window.until(DOCK, 20)
    assert_fits(window, DOCK)
    assert window.value(f"{DOCK}.height()") > 0.9 * height
