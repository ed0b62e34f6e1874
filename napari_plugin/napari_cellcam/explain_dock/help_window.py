"""A small button that opens the help page in a window beside the others."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QTextBrowser, QToolButton, QVBoxLayout, QWidget

_SIZE = 560, 640  # screen pixels; fits a screen of 1280 x 800


class HelpButton(QToolButton):
    """Opens the help.

    Parameters
    ----------
    page : makes the page, as HTML, when it is opened
    owner : the window of the help is above its window
    """

    def __init__(self, page: Callable[[], str], owner: QWidget) -> None:
        super().__init__()
        self._page, self._owner = page, owner
        self._window: QDialog | None = None
        self.setText("?")
        self.setToolTip("Help: steps, keys, what colours and numbers mean, where files are.")
        self.clicked.connect(lambda: self.open_help())

    def open_help(self) -> QDialog:
        """Open the window, or bring it to the front; everything else stays usable."""
        if self._window is None:
            self._window = _help_window(self._owner)
        browser = self._window.findChild(QTextBrowser)
        browser.setHtml(self._page())
        self._window.show()
        self._window.raise_()
        return self._window


def _help_window(owner: QWidget) -> QDialog:
    window = QDialog(owner)
    window.setWindowTitle("CellCam help")
    window.setModal(False)
    window.resize(*_SIZE)
    browser = QTextBrowser()
    browser.setOpenExternalLinks(True)
    browser.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
    )
    column = QVBoxLayout(window)
    column.addWidget(browser)
    return window
