"""What the user has set in the viewer, given back after CellCam has changed its layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


@contextmanager
def view_kept(viewer: napari.viewer.Viewer, planes_and_camera: bool = True) -> Iterator[None]:
    """Give selection and active layer back at the end, by default planes and camera too.

    A layer that is added meanwhile does not become active: napari would exchange the controls at
    its left for it and back again, and draw the whole canvas each time.
    """
    layers = viewer.layers
    activates = getattr(layers, "_activate_on_insert", True)  # private: where it is gone, slower
    layers._activate_on_insert = False
    active, selected = layers.selection.active, set(layers.selection)
    camera = getattr(viewer, "scene", viewer).camera
    center, zoom, angles = camera.center, camera.zoom, camera.angles
    point, order, ndim = viewer.dims.point, viewer.dims.order, viewer.dims.ndim
    try:
        yield
    finally:
        layers._activate_on_insert = activates
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


def remove_layers(viewer: napari.viewer.Viewer, layers: Iterable[Layer]) -> None:
    """Remove those of the layers that are in the viewer.

    All at once: napari collects garbage whenever it has removed layers, which takes 0.2 s.
    """
    batched = getattr(viewer.layers, "batched_update", nullcontext)  # since napari 0.9
    with batched():
        for layer in layers:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
