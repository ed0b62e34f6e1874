"""The packaged model in the hands of a person: a real pointer, real keys, the whole window.

The process of the window is asked what it shows, never to act. Reading `RealWindow` first helps.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dock_by_hand import (
    DOCK,
    RESULTS,
    TABLE,
    cell_on_card,
    classify,
    click_background,
    click_cell,
    click_layer,
    click_row,
    column,
    explain,
    open_choices,
    open_dock,
    wait_for_card,
    wait_for_true_classes,
)
from support.real_window import Gap, RealWindow

from cellcam import samples
from cellcam.models.bundle import read_spec

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(sys.platform != "linux", reason="the pointer is that of an X server"),
]

CLASSES = read_spec(samples.sample_path(samples.DEMO_MODEL)).classes
# A cell in the middle of the image whose neighbours do not touch it, and two others.
CELL, ANOTHER, THIRD = 25, 30, 35

# Seconds. The aim is 0.2, which a test cannot ask for on a machine that it shares: the GUI thread
# waits for other processes, and Mesa compiles the shaders of each new kind of layer on the CPU.
# The bounds are below what cells, maps or a card would take if they were computed in this thread.
# Computing time is what the thread itself used, so that it is trusted more. The steps before
# Classify (napari starts, and imports the readers) are printed, but not judged.
MOST_COMPUTING, LONGEST_GAP = 2.0, 10.0
BEFORE_CLASSIFY = ("start", "open the sample", "open the dock")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[RealWindow]:
    """The sample, opened through the menu, beside the dock."""
    with RealWindow(size=(1600, 1000), home=tmp_path) as window:
        window.step("open the sample")
        window.menu("File", "Open Sample", "Simulated cells")
        window.until("len(viewer.layers) == 3")
        open_dock(window)
        yield window


def wait_until_put_away(window: RealWindow) -> None:
    """Nothing of the results is left on the screen, and nothing acts on them."""
    window.until(f"{TABLE}.model().rowCount() == 0 or not {TABLE}.isVisible()", 20)
    window.until(f"{RESULTS} == []", 20)
    assert cell_on_card(window) is None
    click_background(window)
    window.key("n", "1")
    assert cell_on_card(window) is None
    assert not any(column(window, "true class"))
    assert not window.value("find(QPushButton, 'Explain').isEnabled()")


def test_a_click_after_explain_shows_the_card_whichever_layer_is_active(
    window: RealWindow,
) -> None:
    classify(window)
    explain(window)
    click_cell(window, CELL)
    wait_for_card(window, CELL)
    for layer, number in [("tubulin", ANOTHER), ("cells by class", THIRD)]:
        click_layer(window, layer)
        camera = window.value("[*viewer.scene.camera.center, viewer.scene.camera.zoom]")
        click_cell(window, number)
        wait_for_card(window, number)
        assert window.value("viewer.layers.selection.active.name") == layer
        assert window.value("[*viewer.scene.camera.center, viewer.scene.camera.zoom]") == camera


def test_keys_step_and_assign_with_the_focus_on_the_canvas_and_in_the_dock(
    window: RealWindow,
) -> None:
    classify(window)
    first = click_row(window, 0)
    wait_for_card(window, first)
    click_background(window)
    window.key("n")
    wait_for_card(window, first + 1)
    window.key("n")
    wait_for_card(window, first + 2)
    window.key("2")
    wait_for_true_classes(window, {2: CLASSES[1]})
    assert window.value("str(viewer.layers.selection.active.mode)") == "pan_zoom"
    click_row(window, 2)  # focus in the dock
    window.key("p")
    wait_for_card(window, first + 1)
    window.key("3")
    wait_for_true_classes(window, {1: CLASSES[2], 2: CLASSES[1]})


def test_digits_on_the_canvas_are_napari_s_while_there_are_no_cells(window: RealWindow) -> None:
    window.click("centre(viewer.window._qt_viewer.canvas.native)")
    window.key("2")
    window.until("str(viewer.layers.selection.active.mode) == 'transform'", 20)


def test_results_go_with_the_image_they_are_about_and_come_back_with_it(
    window: RealWindow,
) -> None:
    classify(window)
    explain(window)
    calls = column(window, "class")
    wait_for_card(window, click_row(window, 0))
    open_choices(window)
    channel = f"{DOCK}.choices.sources['DNA']"
    window.choose(channel, "marker")
    wait_until_put_away(window)
    window.choose(channel, "DNA")
    window.until(f"{TABLE}.model().rowCount() == {len(calls)}", 20)
    assert column(window, "class") == calls


def test_results_go_with_the_model_they_are_of(window: RealWindow, tmp_path: Path) -> None:
    other = tmp_path / "other_model"
    shutil.copytree(samples.sample_path(samples.DEMO_MODEL), other)
    classify(window)
    wait_for_card(window, click_row(window, 0))
    open_choices(window)
    window.click("find(QPushButton, 'Open...')")
    window.until("find(QFileDialog)")
    window.type(str(other))
    window.key("Return")
    window.until(f"{DOCK}.choices.model_folder == {str(other)!r}", 20)
    wait_until_put_away(window)


def test_results_go_with_an_image_that_is_removed(window: RealWindow) -> None:
    classify(window)
    explain(window)
    wait_for_card(window, click_row(window, 0))
    click_layer(window, "tubulin")
    window.click("find('QtLayerButtons').deleteButton")
    window.until("'tubulin' not in viewer.layers", 20)
    wait_until_put_away(window)


def test_the_loop_never_freezes(window: RealWindow, capsys: pytest.CaptureFixture[str]) -> None:
    """Classify, explain, sort, step, correct; the gaps of the event loop are printed."""
    classify(window)
    explain(window)
    window.step("click a cell")
    click_cell(window, CELL)
    wait_for_card(window, CELL)
    window.step("sort")
    window.click(f"heading({TABLE}, 'margin')")
    window.until(f"{TABLE}.horizontalHeader().sortIndicatorSection() > 0", 20)
    margins = [float(value) for value in column(window, "margin")]
    assert margins == sorted(margins)
    assert window.value(f"{TABLE}.verticalScrollBar().value()") == 0, "sorting jumps to the top"
    window.step("click a row")
    wait_for_card(window, click_row(window, 0))
    window.step("step and correct")
    for key in "n1n2p3":
        window.key(key)
    wait_for_card(window, int(column(window, "label")[1]))
    wait_for_true_classes(window, {1: CLASSES[2], 2: CLASSES[1]})
    assert window.errors() == []
    gaps = window.gaps()
    with capsys.disabled():
        print(*_lines(gaps), sep="\n")
    too_long = [g for g in gaps if g.computing > MOST_COMPUTING or g.seconds > LONGEST_GAP]
    assert [gap for gap in too_long if gap.step not in BEFORE_CLASSIFY] == []


def _lines(gaps: list[Gap]) -> Iterator[str]:
    yield f"\n{len(gaps)} gaps of the event loop above 0.1 s:"
    for gap in gaps:
        yield f"{gap.seconds:6.2f} s ({gap.computing:.2f} computing) {gap.step}: {gap.where}"
