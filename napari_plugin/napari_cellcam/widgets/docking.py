"""CellCam's docks share one place, as tabs: one below the other, each would be too low to use."""

from __future__ import annotations

from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

_IS_OURS = "is_cellcam_dock"


def share_place(widget: QWidget) -> None:
    """Put the dock of a widget behind or before CellCam's other docks, as a tab, and show it.

    Only once: what the user does with the docks later is left alone. Docks that the user has moved
    to another side, or that float, stay where they are.
    """
    dock = dock_of(widget)
    window = dock.parent() if dock is not None else None
    if dock is None or not isinstance(window, QMainWindow) or dock.property(_IS_OURS):
        return
    dock.setProperty(_IS_OURS, True)
    for other in window.findChildren(QDockWidget):
        if other is dock or not other.property(_IS_OURS) or not other.isVisible():
            continue
        area = window.dockWidgetArea(dock)
        if area == window.dockWidgetArea(other) and not (dock.isFloating() or other.isFloating()):
            window.tabifyDockWidget(other, dock)
    dock.raise_()


def dock_of(widget: QWidget) -> QDockWidget | None:
    """The dock widget that a widget is in; the canvas is in none."""
    while widget is not None:
        if isinstance(widget, QDockWidget):
            return widget
        widget = widget.parentWidget()
    return None
