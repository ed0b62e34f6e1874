"""What was imported is left out of garbage collections; layers that go are freed all the same."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.work.garbage import collect_and_leave_out, without_collections
from support.window import PLACEMENT, Until

pytestmark = pytest.mark.gui

LOADED = """
import gc
from napari_cellcam.work.torch_loading import load_torch
load_torch()
import torch
print(gc.isenabled(), len(gc.get_objects()), gc.get_freeze_count())
"""


def test_collections_do_not_look_through_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    enabled, looked_through, left_out = done.stdout.split()
    assert enabled == "True"
    assert int(left_out) > 100_000
    assert int(looked_through) < int(left_out) / 10


def test_pixels_of_a_layer_that_was_left_out_are_freed(widget: ExplainWidget, until: Until) -> None:
    layer = widget.viewer.add_image(np.zeros((40, 60), np.uint8), name="other", **PLACEMENT)
    collect_and_leave_out()
    there = weakref.ref(layer)
    widget.viewer.layers.remove(layer)
    del layer
    until(lambda: there() is None)


def test_a_closed_dock_leaves_nothing_out(widget: ExplainWidget) -> None:
    collect_and_leave_out()
    assert gc.get_freeze_count() > 0
    widget.release()
    assert gc.get_freeze_count() == 0


def test_a_disabled_collector_stays_disabled() -> None:
    gc.disable()
    try:
        with without_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
