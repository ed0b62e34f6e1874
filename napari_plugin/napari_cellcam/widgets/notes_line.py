"""What the user must know about the results on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt

from napari_cellcam.widgets.labels import WrappedLabel


class NotesLine(WrappedLabel):
    """Notes about an image and its cells; hidden where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Amber on dark and on light themes: a doubt, not an error.
        self.setStyleSheet("border-left: 3px solid #e0a000; padding-left: 6px;")
        self.setToolTip("What to know about this image and its cells before believing the calls.")
        self.setVisible(False)

    def show_notes(self, notes: Sequence[str]) -> None:
        """Show these notes in place of those before."""
        self.setText("\n".join(notes))
        self.setVisible(bool(notes))
