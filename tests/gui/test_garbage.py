"""What torch's import brought is left out of garbage collections; layers that go are freed."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.viewer_state import remove_layers, removed_together
from napari_cellcam.work.garbage import left_out_of_collections
from napari_cellcam.work.torch_loading import load_torch
from support.window import PLACEMENT, Until

pytestmark = pytest.mark.gui

LOADED = """
import gc
from napari_cellcam.work.torch_loading import load_torch
before = len(gc.get_objects())
load_torch()
import torch
print(gc.isenabled(), before, len(gc.get_objects()), gc.get_freeze_count())
"""


TABLE: dict[str, list[object]] = {"parts": [Exception]}


class Node:
    """An object that Python frees only by a collection."""

    def __init__(self) -> None:
        self.itself = self
        self.held: object = None


def test_collections_do_not_look_through_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    enabled, before, looked_through, left_out = done.stdout.split()
    assert enabled == "True"
    assert int(left_out) > 100_000
    assert int(looked_through) < int(before) + int(left_out) / 10


def test_what_was_there_before_an_import_is_freed_by_later_collections() -> None:
    before = Node()
    with left_out_of_collections():
        brought = Node()
    gone, stays = weakref.ref(before), weakref.ref(brought)
    del before, brought
    gc.collect()
    assert gone() is None
    assert stays() is not None
    gc.unfreeze()
    gc.collect()
    assert stays() is None


def test_what_functions_hold_is_freed_by_later_collections() -> None:
    def cycle() -> weakref.ref[Node]:
        closed_over, default = Node(), Node()

        class Local:
            held = closed_over

        closed_over.held = [lambda: closed_over, lambda node=default: node, Local]
        default.held = closed_over
        return weakref.ref(default)

    gone = cycle()
    with left_out_of_collections():
        pass
    gc.collect()
    gc.unfreeze()
    assert gone() is None


def test_what_a_table_holds_is_freed_by_later_collections() -> None:
    node = Node()
    gone = weakref.ref(node)
    TABLE["parts"].append(node)
    del node
    with left_out_of_collections():
        pass
    TABLE["parts"].pop()
    gc.collect()
    gc.unfreeze()
    assert gone() is None


def test_modules_classes_and_their_tables_are_left_out_of_collections() -> None:
    with left_out_of_collections():
        pass
    looked_at = {id(each) for each in gc.get_objects()}
    gc.unfreeze()
    code = [gc, Node, vars(sys.modules[__name__]), Node.__init__, np.ndarray, TABLE, TABLE["parts"]]
    assert not looked_at & {id(each) for each in code}


def test_pixels_of_a_layer_that_was_open_before_torch_was_loaded_are_freed(
    widget: ExplainWidget, until: Until
) -> None:
    layer = widget.viewer.add_image(np.zeros((40, 60), np.uint8), name="other", **PLACEMENT)
    with left_out_of_collections():
        load_torch()
    there = weakref.ref(layer)
    widget.viewer.layers.remove(layer)
    del layer
    until(lambda: not gc.collect() and there() is None)


def test_removals_within_removals_are_one_for_napari(widget: ExplainWidget) -> None:
    viewer, ends = widget.viewer, []
    layers = [viewer.add_image(np.zeros((40, 60), np.uint8), name=name) for name in "abc"]
    viewer.layers.events.end_batch.connect(lambda _: ends.append(len(viewer.layers)))
    n = len(viewer.layers)
    with removed_together(viewer):
        remove_layers(viewer, layers[:2])
        viewer.layers.remove(layers[2])
    assert ends == [n - 3]
    assert not {"a", "b", "c"} & {layer.name for layer in viewer.layers}


def test_a_disabled_collector_stays_disabled() -> None:
    gc.disable()
    try:
        with left_out_of_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
