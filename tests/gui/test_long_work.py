"""While the window works: cancelling, clicking and deleting, thousands of cells, large planes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from conftest import PLACE, Until, classified, click
from napari_cellcam import drawing
from napari_cellcam import session as session_module
from napari_cellcam.tasks import Task
from qtpy.QtCore import Qt

pytestmark = pytest.mark.gui


def test_a_click_while_it_explains_waits_for_no_end(widget: Any, until: Until) -> None:
    classified(widget, until)
    seen: list[Any] = []
    widget.card.show_card = lambda card, colours: seen.append(card)
    widget.training.assign("M", [1])
    widget.explain()
    widget.go_to_cell(0)
    widget.go_to_cell(1)
    until(lambda: not widget.busy)
    assert widget.results.maps
    assert seen[-1].maps
    assert seen[-1].facts["label"] == widget.session.table["label"][1]
    assert widget.session.table["said"].tolist() == ["", "M"]


def test_a_short_task_runs_between_the_steps_of_a_long_one(until: Until) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(step: Any) -> None:
        begun.set()
        go_on.wait(30)
        step(1, 2)
        order.append("long")

    long = Task("long", lambda _: None).start(work)
    until(begun.is_set)
    Task("short", lambda _: None, soon=True).start(lambda _: order.append("short"))
    go_on.set()
    until(lambda: len(order) == 2)
    assert order == ["short", "long"]
    assert long.title == "long"


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
def test_cancelling_or_deleting_while_it_explains(
    widget: Any, until: Until, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    classified(widget, until)
    begun, go_on = threading.Event(), threading.Event()
    explain = session_module.Session.explain

    def slowly(self: Any, classes: Any, progress: Any) -> Any:
        begun.set()
        go_on.wait(30)
        return explain(self, classes, progress)

    monkeypatch.setattr(session_module.Session, "explain", slowly)
    widget.explain()
    until(begun.is_set)
    if how == "cancelled":
        widget.cancel_button.click()
    else:
        widget.viewer.layers.remove(widget.results.cells)
        widget.viewer.layers.remove("DNA")
    go_on.set()
    until(lambda: not widget.busy)
    assert bool(widget.results.maps) == (how == "deleted")
    if how == "cancelled":
        assert widget.status.text() == "Cancelled."


def test_cancelling_ends_in_the_middle_of_a_map(widget: Any, until: Until) -> None:
    session = classified(widget, until)
    begun, go_on = threading.Event(), threading.Event()
    passes: list[int] = []

    def slowly(_: Any, images: tuple[Any, ...]) -> None:
        if images[0].shape[2:] != (16, 16):
            return  # only what follows the layer is run, on a tiny image
        passes.append(1)
        if len(passes) == 3:
            begun.set()
            go_on.wait(30)

    session.model.explain(session.fields[0].found.crops)  # what is found out once about a network
    hook = session.model.network.register_forward_pre_hook(slowly)
    widget.explain()
    until(begun.is_set)
    widget.cancel_button.click()
    assert widget.status.text() == "Cancelled."  # at once, while the pass goes on
    assert widget.explain_button.isEnabled()
    free: list[Any] = []
    task = Task("next", free.append)
    task.finished.connect(lambda task, result: task.then(result))
    task.start(lambda step: "done")
    go_on.set()
    until(lambda: free)
    hook.remove()
    assert len(passes) == 3
    assert not widget.results.maps


def test_a_card_in_the_middle_of_a_map_changes_neither(widget: Any, until: Until) -> None:
    session = classified(widget, until)
    alone, card = session.explain("all", lambda *_: None), session.card(0, lambda *_: None)
    between: list[Any] = []

    def step(done: int, total: int) -> None:
        if not between:
            between.append(session.card(0, lambda *_: None))

    together = session.explain("all", step)
    for name, image in alone.maps.items():
        np.testing.assert_array_equal(together.maps[name], image)
    for name, image in card.maps.items():
        np.testing.assert_array_equal(between[0].maps[name], image)


def test_large_planes_are_drawn_as_pyramids_and_can_be_clicked(
    widget: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_LARGEST_PLANE", 1000)
    classified(widget, until)
    cells = widget.results.cells
    assert [level.shape for level in cells.data] == [(40, 60), (20, 30)]
    gone_to: list[int] = []
    widget.results.clicked = lambda row, more: gone_to.append(row)
    click(cells, (20, 40))
    assert gone_to == [cells.data[0][20, 40] - 1]
    widget.explain()
    until(lambda: not widget.busy)
    assert widget.results.maps[0].multiscale


def test_thousands_of_cells(widget: Any, until: Until) -> None:
    side = 71
    labels = np.kron(np.arange(1, side**2 + 1).reshape(side, side), np.ones((5, 5), int))
    labels = np.pad(labels.reshape(side, 5, side, 5), ((0, 0), (0, 2), (0, 0), (0, 2)))
    labels = labels.reshape(side * 7, side * 7)
    widget.viewer.layers.clear()
    for name in ("DNA", "actin"):
        image = np.random.default_rng(0).poisson(20 + 3 * (labels % 50)).astype(np.uint8)
        widget.viewer.add_image(image, name=name, **PLACE)
    widget.viewer.add_labels(labels, name="mine", **PLACE)
    widget.choices.cells.setCurrentText("mine")
    session = classified(widget, until)
    assert len(session.table) == side**2
    margin = [widget.table.model().headerData(i, Qt.Orientation.Horizontal) for i in range(4)]
    widget.table.sortByColumn(margin.index("margin"), Qt.SortOrder.AscendingOrder)
    widget.table.step(1)
    assert session.table["margin"].iloc[widget.table.selected_rows()[0]] == pytest.approx(
        session.table["margin"].min()
    )
