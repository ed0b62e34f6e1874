"""Results are shown without detours: in steps between which the window is drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from napari_cellcam.layers.viewer_state import add_inactive
from napari_cellcam.work.tasks import StepTimer
from qtpy.QtCore import QObject, QTimer
from support.window import Until


def test_an_added_layer_does_not_become_active_in_between(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((8, 8)))
    changes: list[object] = []
    viewer.layers.selection.events.active.connect(lambda event: changes.append(event.value))
    add_inactive(viewer, Labels(np.zeros((8, 8), int), name="cells"))
    assert [layer.name for layer in viewer.layers] == [image.name, "cells"]
    assert changes == []
    assert viewer.layers.selection.active == image
    assert set(viewer.layers.selection) == {image}
    # Afterwards napari does as it always does.
    added = viewer.add_labels(np.zeros((8, 8), int))
    assert viewer.layers.selection.active == added


def test_other_timers_run_after_a_long_step(until: Until, qapp: Any) -> None:
    """A step takes longer than the interval; what was due then comes before the next step."""
    order: list[str] = []
    owner = QObject()
    timer = StepTimer(owner)

    def steps() -> Iterator[None]:
        for _ in range(2):
            order.append("step")
            time.sleep(0.06)
            QTimer.singleShot(5, lambda: order.append("loop"))
            yield

    timer.begin(steps())
    until(lambda: not timer.isActive() and order.count("loop") == 2)
    assert order == ["step", "loop", "step", "loop"]


def test_a_step_may_stop_the_steps(until: Until, qapp: Any) -> None:
    owner = QObject()
    timer = StepTimer(owner)
    done: list[int] = []

    def steps() -> Iterator[None]:
        for number in range(3):
            done.append(number)
            timer.stop()
            yield

    timer.begin(steps())
    until(lambda: bool(done))
    assert not timer.isActive()
    assert done == [0]
