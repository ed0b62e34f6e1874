"""Buttons in a row, and buttons of one width whose names may be too long for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QBoxLayout, QPushButton, QSizePolicy, QStyle, QStyleOptionButton

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

_BESIDE_ICON = 6  # screen pixels between icon and text


def button(text: str, action: Callable[[], object], row: QBoxLayout) -> QPushButton:
    """Add a button to a row; a click calls ``action``."""
    added = QPushButton(text)
    added.clicked.connect(lambda: action())
    row.addWidget(added)
    return added


class NameButton(QPushButton):
    """A button as wide as its place, whose text is a name between a key and a count.

    Where there is no room for all of it, letters in the middle of the name are left out.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._before, self._name, self._after = "", "", ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.clicked.connect(lambda: action())

    def show_text(self, before: str, name: str, after: str) -> None:
        """Show the three parts, of which only the name may be shortened."""
        self._before, self._name, self._after = before, name, after
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802, D102 - Qt's name
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        contents = QStyle.SubElement.SE_PushButtonContents
        room = self.style().subElementRect(contents, option, self).width()
        if not self.icon().isNull():
            room -= self.iconSize().width() + _BESIDE_ICON
        width = self.fontMetrics().horizontalAdvance
        room -= width(self._before) + width(self._after)
        shown = self.fontMetrics().elidedText(self._name, Qt.TextElideMode.ElideMiddle, room)
        text = f"{self._before}{shown}{self._after}"
        if text != self.text():
            self.setText(text)
