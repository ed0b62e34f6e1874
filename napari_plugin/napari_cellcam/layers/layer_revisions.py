"""Which state a layer is in: results are about pixels, scale and position of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary
from zlib import crc32

import numpy as np

from napari_cellcam.state.origin import LayerState

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event, EventEmitter

# A layer emits one of these when something changes that results depend on.
_CHANGES = ("data", "scale", "translate", "rotate", "shear", "affine", "units", "paint")
# napari tells of an undone brush stroke only as of any new slice; labels up to this size in bytes
# are compared with what they were.
_LARGEST_COMPARED = 2**26


class LayerRevisions:
    """Counts the changes of layers.

    Parameters
    ----------
    on_change : called after a change of a layer that was asked about
    """

    def __init__(self, on_change: Callable[[], object]) -> None:
        self._on_change = on_change
        self._revisions: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
        self._checksums: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()

    def state(self, layer: Layer) -> LayerState:
        """The present state of a layer; from now on its changes are counted."""
        if layer not in self._revisions:
            self._revisions[layer] = 0
            self._checksums[layer] = _checksum(layer)
            for event in _events(layer, _CHANGES):
                event.connect(self._count)
            for event in _events(layer, ("set_data",)):
                event.connect(self._compare)
        return LayerState(str(layer.unique_id), self._revisions[layer])

    def release(self) -> None:
        """Disconnect from all layers."""
        for layer in list(self._revisions):
            for event in _events(layer, _CHANGES):
                event.disconnect(self._count)
            for event in _events(layer, ("set_data",)):
                event.disconnect(self._compare)

    def _count(self, event: Event) -> None:
        self._changed(event.source)

    def _compare(self, event: Event) -> None:
        checksum = _checksum(event.source)
        if self._checksums.get(event.source) != checksum:
            self._checksums[event.source] = checksum
            self._changed(event.source)

    def _changed(self, layer: Layer) -> None:
        if layer in self._revisions:
            self._revisions[layer] += 1
            self._on_change()


def _events(layer: Layer, names: Iterable[str]) -> list[EventEmitter]:
    found = (getattr(layer.events, name, None) for name in names)
    return [event for event in found if event is not None]


def _checksum(layer: Layer) -> int:
    """Checksum of the pixels of small labels; 0 for other layers."""
    data = layer.data
    is_small = isinstance(data, np.ndarray) and data.nbytes <= _LARGEST_COMPARED
    return crc32(np.ascontiguousarray(data).data) if is_small and data.dtype.kind in "ui" else 0
