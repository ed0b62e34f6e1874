"""The line of text in which a dock widget answers the user."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication

from napari_cellcam.widgets.labels import WrappedLabel
from napari_cellcam.work.tasks import error_text


class StatusLine(WrappedLabel):
    """The latest message or error."""

    def show_error(self, error: Exception | str) -> None:
        """Show an error here and as a notification of napari."""
        from napari.utils.notifications import show_error

        text = error if isinstance(error, str) else error_text(error)
        self.setText(text)
        show_error(text)

    def copy_to_clipboard(self, command: str) -> None:
        """Put a command on the clipboard, and show that."""
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(command)
        self.setText(f"Copied: {command}")
