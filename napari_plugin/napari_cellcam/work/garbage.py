"""Short garbage collections: what was imported is left out of them.

Python's collector stops every thread while it looks through all objects. With torch, MONAI and
napari imported these are so many that one collection takes 0.25 to 0.4 s. They come at any moment,
often while something is imported, and napari asks for one whenever a layer is removed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event

# Layers that collections leave out. Nothing would free the pixels of one that is removed.
_LEFT_OUT: WeakSet[Layer] = WeakSet()


def collect_and_leave_out() -> None:
    """Free garbage, and leave what remains out of later collections."""
    gc.collect()
    _leave_out()


@contextmanager
def without_collections() -> Iterator[None]:
    """Import libraries: no collections meanwhile, and later ones leave them out."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _leave_out()
        if was_enabled:
            gc.enable()


def on_removed_layer(event: Event) -> None:
    """Take everything up again if this layer was left out, so that it can be freed."""
    if event.value in _LEFT_OUT:
        take_up_again()
        QTimer.singleShot(0, collect_and_leave_out)  # when nobody refers to the layer any more


def take_up_again() -> None:
    """Let the next collection look through everything."""
    _LEFT_OUT.clear()
    gc.unfreeze()


def _leave_out() -> None:
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None:
        _LEFT_OUT.update(viewer.layers)
    gc.freeze()
