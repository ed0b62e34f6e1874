"""The docks in napari's menus. What they are made of is imported while the window goes on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from napari_cellcam.work.waiting import draw_window, without_freezing

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def explain_dock() -> QWidget:
    """Dock to classify and explain the cells of an image, in napari's current window."""
    return _dock("napari_cellcam.explain_dock.explain_widget", "ExplainWidget")


def batch_dock() -> QWidget:
    """Dock to classify and explain the images of a folder, in napari's current window."""
    return _dock("napari_cellcam.batch_dock.batch_widget", "BatchWidget")


def _dock(module: str, name: str) -> QWidget:
    from napari import current_viewer

    dock = getattr(without_freezing(lambda: import_module(module)), name)
    widget: QWidget = dock(current_viewer())
    draw_window()  # before napari adds it
    return widget
