"""Evidence in the hands of a person: some cells, why this and not that, other settings, table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dock_by_hand import CELLS, DOCK, TABLE, classify, click_cell, open_dock, press
from support.real_window import RealWindow

from cellcam.request import DEFAULT_RTOL

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(sys.platform != "linux", reason="the pointer is that of an X server"),
]

EVIDENCE = f"{DOCK}.results.evidence"
DIFFERENCE = "why this and not that"
# Seconds of the GUI thread; the computing of these maps takes several.
MOST_COMPUTING = 2.0


@pytest.fixture
def window(tmp_path: Path) -> Iterator[RealWindow]:
    """A small window with the classified sample."""
    with RealWindow(size=(1280, 800), theme="light", home=tmp_path) as window:
        window.menu("File", "Open Sample", "Simulated cells")
        window.until("len(viewer.layers) == 3")
        open_dock(window)
        classify(window)
        yield window


def shown_inside(window: RealWindow, label: int) -> float:
    """Largest absolute value of the shown map inside a cell."""
    inside = f"(np.asarray({CELLS}.data) == {label})"
    return float(window.value(f"float(abs(np.asarray({EVIDENCE}.layer.data))[{inside}].max())"))


def test_some_cells_are_explained_compared_explained_otherwise_and_copied(
    window: RealWindow,
) -> None:
    window.run("viewer.reset_view()")
    chosen = [12, 25, 30]
    for i, number in enumerate(chosen):
        window.click(f"inside_label({CELLS}, {number})", modifiers=("shift",) if i else ())
    window.until(f"len({TABLE}.selected_rows()) == {len(chosen)} and not {DOCK}.busy")
    window.click(f"{DOCK}.selected_only")
    press(window, "Explain")
    window.until(f"{EVIDENCE} is not None and not {DOCK}.busy", 120)
    assert window.value(f"{DOCK}.status.text()").startswith(f"{len(chosen)} of ")
    other = next(number for number in range(1, 40) if number not in chosen)
    assert shown_inside(window, chosen[0]) > 0
    assert shown_inside(window, other) == 0

    window.step("compare")
    window.choose(f"{DOCK}.evidence.choice", DIFFERENCE)
    window.until(f"{EVIDENCE}.is_signed and {EVIDENCE}.layer.visible and not {DOCK}.busy", 120)
    assert shown_inside(window, chosen[0]) > 0
    assert shown_inside(window, other) == 0
    assert window.value(f"{DOCK}.evidence.difference_bar.isVisible()")

    window.step("copy")
    click_cell(window, chosen[0])
    window.until(f"len({TABLE}.selected_rows()) == 1 and not {DOCK}.busy")
    row = window.value(f"{TABLE}.currentIndex().row()")
    window.click(f"item({TABLE}, {row}, 1)")
    window.key("ctrl+c")
    window.until("QApplication.clipboard().text().count('\\n') == 2", 20)
    header, line, _ = window.value("QApplication.clipboard().text()").split("\n")
    facts = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    label = window.value(f"int({DOCK}.session.table['label'][{chosen[0] - 1}])")
    assert int(facts["label"]) == label
    assert facts["true class"] == ""
    assert 0 < float(facts["importance_error"]) <= DEFAULT_RTOL

    window.step("explain otherwise")
    window.click(f"{DOCK}.explaining.heading")
    window.choose(f"{DOCK}.explaining.formula", "paper")
    window.until(f"{EVIDENCE} is None and not {DOCK}.busy", 60)
    assert not window.value("any(l.visible for l in viewer.layers if l.name == 'evidence')")
    window.click(f"{DOCK}.explaining.back")
    window.until(f"{EVIDENCE} is not None and not {DOCK}.busy", 60)
    window.click(f"{DOCK}.explaining.heading")

    window.step("help")
    window.click(f"{DOCK}.help_button")
    window.until("find('QTextBrowser').isVisible()", 20)
    # The window stays usable beside it.
    window.run("find('QTextBrowser').window().move(0, 0)")
    window.click(f"{DOCK}.evidence.switch")
    window.until(f"not {EVIDENCE}.layer.visible", 20)
    assert window.errors() == []
    judged = ("compare", "copy", "explain otherwise", "help")
    slow = [gap for gap in window.gaps() if gap.step in judged and gap.computing > MOST_COMPUTING]
    assert not slow, slow
