"""What the user has set in the viewer, given back after CellCam has changed its layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

# Viewers whose removals are held together; napari's own switch for it does not nest.
_IN_REMOVAL: set[int] = set()


@contextmanager
def view_kept(viewer: napari.viewer.Viewer, planes_and_camera: bool = True) -> Iterator[None]:
    """Give selection and active layer back at the end, by default planes and camera too."""
    layers = viewer.layers
    active, selected = layers.selection.active, set(layers.selection)
    camera = getattr(viewer, "scene", viewer).camera
    center, zoom, angles = camera.center, camera.zoom, camera.angles
    point, order, ndim = viewer.dims.point, viewer.dims.order, viewer.dims.ndim
    try:
        yield
    finally:
        if planes_and_camera and viewer.dims.ndim == ndim:
            if viewer.dims.order != order:
                viewer.dims.order = order
            if viewer.dims.point != point:
                viewer.dims.point = point
        if planes_and_camera and (camera.center, camera.zoom, camera.angles) != (
            center,
            zoom,
            angles,
        ):
            camera.center, camera.zoom, camera.angles = center, zoom, angles
        there = {layer for layer in selected if layer in layers}
        if set(layers.selection) != there:
            layers.selection = there
        if layers.selection.active is not active and active in layers:
            layers.selection.active = active
            layers.selection = there


def add_inactive(viewer: napari.viewer.Viewer, layer: Layer, index: int | None = None) -> None:
    """Add a layer, at the end or before the layer at ``index``; the active layer stays active.

    napari activates each added layer. It would exchange the controls of the active layer for it
    and back again, and lay out the window each time.
    """
    layers = viewer.layers
    index, active = len(layers) if index is None else index, layers.selection.active
    if active is None:  # no layer or several are selected: `view_kept` gives them back
        layers.insert(index, layer)
        return
    with layers.selection.events.blocker_all():  # the selection is the same at the end
        layers.insert(index, layer)
        layers.selection.active = active


@contextmanager
def removed_together(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Within it, all removals of layers count as one; it may be entered within itself.

    napari collects garbage at the end, even if no layer was removed, which takes a tenth of a
    second.
    """
    batched = getattr(viewer.layers, "batched_update", None)  # since napari 0.9
    if batched is None or not viewer.layers or id(viewer) in _IN_REMOVAL:
        yield
        return
    _IN_REMOVAL.add(id(viewer))
    try:
        with batched():
            yield
    finally:
        _IN_REMOVAL.discard(id(viewer))


def remove_layers(viewer: napari.viewer.Viewer, layers: Iterable[Layer]) -> None:
    """Remove those of the layers that are in the viewer, all at once."""
    with removed_together(viewer):
        for layer in layers:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
