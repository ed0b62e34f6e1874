"""Clicks on cells in the canvas, whichever layer is active."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from napari_cellcam.layers.mouse import MouseEvent

if TYPE_CHECKING:
    import napari

    from napari_cellcam.layers.result_layers import ResultLayers

_LEFT = 1  # mouse button
_STILL = 3  # screen pixels that a hand moves while it clicks


class CellClicks:
    """Calls ``go_to_cell`` for a click on a cell; moving the image is not a click.

    Parameters
    ----------
    viewer : whose mouse is watched
    results : the results that are shown, if there are any
    go_to_cell : called with the cell's row, and whether Shift is held
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        results: Callable[[], ResultLayers | None],
        go_to_cell: Callable[[int, bool], None],
    ) -> None:
        self._viewer, self._results, self._go_to_cell = viewer, results, go_to_cell
        viewer.mouse_drag_callbacks.append(self._on_mouse)

    def release(self) -> None:
        """Watch no more."""
        if self._on_mouse in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)

    def _on_mouse(self, _: napari.viewer.Viewer, event: MouseEvent) -> Iterator[None]:
        pressed = tuple(event.pos)
        is_click = event.button == _LEFT and not self._is_editing()
        yield
        while event.type == "mouse_move":
            is_click = is_click and _distance(pressed, event.pos) <= _STILL
            yield
        results = self._results()
        row = results.row_at(event) if is_click and results is not None else None
        if row is not None:
            self._go_to_cell(row, "Shift" in event.modifiers)

    def _is_editing(self) -> bool:
        """Whether the mouse draws in the active layer."""
        active = self._viewer.layers.selection.active
        return active is not None and str(active.mode) not in ("pan_zoom", "transform")


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
