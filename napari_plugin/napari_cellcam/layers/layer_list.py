"""Events of the viewer's layer list."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.utils.events import Event, EventEmitter


def layer_list_events(viewer: napari.viewer.Viewer) -> list[EventEmitter]:
    """Events of added, removed and renamed layers; napari 0.6 has no event for new names."""
    events = viewer.layers.events
    known = (getattr(events, name, None) for name in ("inserted", "removed", "renamed"))
    return [event for event in known if event is not None]


def disconnect_layer_list(
    viewer: napari.viewer.Viewer, callback: Callable[[Event], None], _: object = None
) -> None:
    """Disconnect a callback from the events of the layer list."""
    for event in layer_list_events(viewer):
        event.disconnect(callback)
