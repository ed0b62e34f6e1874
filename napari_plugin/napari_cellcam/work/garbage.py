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

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer
    from napari.utils.events import Event

_SETTLED_MS = 300  # until a new dock is drawn, and nobody refers to a removed layer any more
# Layers that collections leave out. Nothing would free the pixels of one that is removed.
_LEFT_OUT: WeakSet[Layer] = WeakSet()


class ShortCollections(QObject):
    """Leaves what is there out of collections, while a dock is open.

    If a layer that was left out is removed, everything is looked through once, so that its pixels
    are freed.

    Parameters
    ----------
    viewer : the dock's
    dock : its parent
    """

    def __init__(self, viewer: napari.viewer.Viewer, dock: QObject) -> None:
        super().__init__(dock)
        self._removed = viewer.layers.events.removed
        self._removed.connect(self._on_removed)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.timeout.connect(collect_and_leave_out)
        self._settled.start(_SETTLED_MS)

    def release(self) -> None:
        """Let collections look through everything again."""
        self._removed.disconnect(self._on_removed)
        self._settled.stop()
        _take_up_again()

    def _on_removed(self, event: Event) -> None:
        if event.value in _LEFT_OUT:
            _take_up_again()
            self._settled.start(_SETTLED_MS)


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


def _leave_out() -> None:
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None:
        _LEFT_OUT.update(viewer.layers)
    gc.freeze()


def _take_up_again() -> None:
    _LEFT_OUT.clear()
    gc.unfreeze()
