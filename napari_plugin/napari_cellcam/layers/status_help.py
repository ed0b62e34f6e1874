"""The keys of the dock in napari's status bar, where napari says what its own keys do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari


class StatusHelp:
    """Keeps a text in the status bar while it is true.

    napari writes there what the keys mean to the active layer, which is wrong for those keys that
    the dock takes.

    Parameters
    ----------
    text : what the keys do
    is_true : whether they do it at the moment
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, text: str, is_true: Callable[[], bool]
    ) -> None:
        self._viewer, self._text, self._is_true = viewer, text, is_true
        viewer.events.help.connect(self.refresh)

    def refresh(self, _: object = None) -> None:
        """Write the text, or what napari would write."""
        active = self._viewer.layers.selection.active
        if self._is_true():
            self._viewer.help = self._text
        elif self._viewer.help == self._text:
            self._viewer.help = active.help if active is not None else ""

    def release(self) -> None:
        """Leave the status bar to napari."""
        self._is_true = lambda: False
        self.refresh()
        self._viewer.events.help.disconnect(self.refresh)
