"""The window while it computes: cancelling, clicking, deleting; many cells and large planes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from napari_cellcam.explain_dock import explain_widget
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers import appearance
from napari_cellcam.state.cell_card import CellCard, explained_card
from napari_cellcam.state.evidence import EvidenceMaps, explain_session
from napari_cellcam.state.session import Session
from napari_cellcam.widgets import task_list
from napari_cellcam.work import tasks
from napari_cellcam.work.tasks import Task
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from support.window import PLACEMENT, Until, classified, click, explain

from cellcam.progress import Progress
from cellcam.request import Classes

pytestmark = pytest.mark.gui


def pause_explaining(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let `explain_session` wait; the events tell that it has begun, and let it go on."""
    begun, go_on = threading.Event(), threading.Event()

    def paused(
        session: Session, classes: Classes, rows: list[int] | None, progress: Progress
    ) -> EvidenceMaps:
        begun.set()
        go_on.wait(30)
        return explain_session(session, classes, rows, progress)

    monkeypatch.setattr(explain_widget, "explain_session", paused)
    return begun, go_on


def start_next_task() -> list[str]:
    """Start a task whose result is in the list once the computing thread was free for it."""
    results: list[str] = []
    task = Task("next", results.append)
    task.finished.connect(lambda task, result: task.on_result(result))
    task.start(lambda progress: "done")
    return results


def test_a_click_during_an_explanation_shows_the_card_of_the_last_clicked_cell(
    widget: ExplainWidget, until: Until
) -> None:
    classified(widget, until)
    shown: list[CellCard] = []
    widget.card.show_card = lambda card, colours: shown.append(card)
    widget.classes.assign("M", [1])
    widget.explain()
    widget.go_to_cell(0)
    widget.go_to_cell(1)
    until(lambda: not widget.busy)
    assert widget.results.maps
    assert shown[-1].class_maps
    assert shown[-1].label == widget.session.table["label"][1]
    assert widget.session.table["true class"].tolist() == ["", "M"]


def test_a_short_task_runs_between_the_steps_of_a_long_one(until: Until) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        begun.set()
        go_on.wait(30)
        progress(1, 2)
        order.append("long")

    long = Task("long", lambda _: None).start(work)
    until(begun.is_set)
    Task("short", lambda _: None, short=True).start(lambda _: order.append("short"))
    go_on.set()
    until(lambda: len(order) == 2)
    assert order == ["short", "long"]
    assert long.title == "long"


@pytest.mark.fault(
    "layers deleted, or work cancelled, during an explanation",
    "no result, no error; the window goes on",
)
@pytest.mark.parametrize("how", ["cancelled", "deleted"])
def test_cancelling_or_deleting_layers_during_an_explanation(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    classified(widget, until)
    begun, go_on = pause_explaining(monkeypatch)
    widget.explain()
    until(begun.is_set)
    if how == "cancelled":
        widget.cancel_button.click()
    else:
        widget.viewer.layers.remove(widget.results.cells)
        widget.viewer.layers.remove("DNA")
    go_on.set()
    until(lambda: not widget.busy)
    if how == "cancelled":
        assert not widget.results.maps
        assert widget.status.text() == "Cancelled."
    else:  # nothing about a closed image is on the screen
        assert widget.session is None
        until(lambda: [layer.name for layer in widget.viewer.layers] == ["actin"])


@pytest.mark.fault("the window closed during an explanation", "the result is dropped")
def test_closing_the_window_drops_the_result_of_a_running_task(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    classified(widget, until)
    begun, go_on = pause_explaining(monkeypatch)
    results = widget.results
    widget.explain()
    until(begun.is_set)
    widget.viewer.close()
    go_on.set()
    next_results = start_next_task()
    until(lambda: next_results)
    assert not results.maps


def test_cancelling_ends_an_explanation_between_two_passes(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    begun, go_on = threading.Event(), threading.Event()
    passes: list[int] = []

    def count_and_pause(_: torch.nn.Module, images: tuple[torch.Tensor, ...]) -> None:
        if images[0].shape[2:] != (16, 16):
            return  # a tiny image, on which only the layers after the target layer run
        passes.append(1)
        if len(passes) == 3:
            begun.set()
            go_on.wait(30)

    # Facts about the network are found once; their passes must not be counted.
    session.model.explain(session.found[0].crops)
    hook = session.model.network.register_forward_pre_hook(count_and_pause)
    widget.explain()
    until(begun.is_set)
    widget.cancel_button.click()
    assert widget.status.text() == "Cancelled."  # at once, while the pass goes on
    assert widget.explain_button.isEnabled()
    next_results = start_next_task()
    go_on.set()
    until(lambda: next_results)
    hook.remove()
    assert len(passes) == 3
    assert not widget.results.maps


def test_a_card_computed_between_two_passes_changes_neither(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    alone = explain_session(session, "all", None, lambda *_: None)
    card = explained_card(session, 0, None, lambda *_: None)
    between: list[CellCard] = []

    def progress(done: int, total: int, note: str = "") -> None:
        if not between:
            between.append(explained_card(session, 0, None, lambda *_: None))

    together = explain_session(session, "all", None, progress)
    for name, image in alone.maps.items():
        np.testing.assert_array_equal(together.maps[name], image)
    np.testing.assert_array_equal(between[0].difference.map, card.difference.map)


def test_large_planes_are_drawn_as_pyramids_and_can_be_clicked(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appearance, "_LARGEST_PLANE", 1000)
    classified(widget, until)
    cells = widget.results.cells
    assert [level.shape for level in cells.data] == [(40, 60), (20, 30)]
    gone_to: list[int] = []
    widget.clicks._go_to_cell = lambda row, extend: gone_to.append(row)
    click(widget, (20, 40))
    assert gone_to == [cells.data[0][20, 40] - 1]
    explain(widget, until)
    assert widget.results.maps[0].multiscale


def test_thousands_of_cells_are_sorted(widget: ExplainWidget, until: Until) -> None:
    side = 71
    labels = np.kron(np.arange(1, side**2 + 1).reshape(side, side), np.ones((5, 5), int))
    labels = np.pad(labels.reshape(side, 5, side, 5), ((0, 0), (0, 2), (0, 0), (0, 2)))
    labels = labels.reshape(side * 7, side * 7)
    widget.viewer.layers.clear()
    for name in ("DNA", "actin"):
        image = np.random.default_rng(0).poisson(20 + 3 * (labels % 50)).astype(np.uint8)
        widget.viewer.add_image(image, name=name, **PLACEMENT)
    widget.viewer.add_labels(labels, name="mine", **PLACEMENT)
    widget.choices.cells.setCurrentText("mine")
    session = classified(widget, until)
    assert len(session.table) == side**2
    headings = [widget.table.model().headerData(i, Qt.Orientation.Horizontal) for i in range(4)]
    widget.table.sortByColumn(headings.index("margin"), Qt.SortOrder.AscendingOrder)
    widget.table.step(1)
    assert session.table["margin"].iloc[widget.table.selected_rows()[0]] == pytest.approx(
        session.table["margin"].min()
    )


def test_napari_draws_no_progress_while_torch_is_imported(
    until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new bar draws the whole window, which is slow while another thread imports."""
    begun, go_on = threading.Event(), threading.Event()
    reports: list[tuple[int, int]] = []

    def load() -> None:
        begun.set()
        go_on.wait(30)

    monkeypatch.setattr(tasks, "load_torch", load)
    task: Task[str] = Task("waits for torch", lambda _: None)
    task.progressed.connect(lambda *report: reports.append(report))
    task.finished.connect(lambda *_: reports.append((1, 1)))
    task.start(lambda progress: "done")
    until(begun.is_set)
    QApplication.processEvents()
    assert reports == []
    go_on.set()
    until(lambda: reports == [(0, 0), (1, 1)])


def test_the_dock_says_that_torch_is_being_loaded(
    widget: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "torch_is_loaded", lambda: False)
    widget.classify()
    assert "Loading torch takes some seconds." in widget.status.text()
    until(lambda: not widget.busy)
