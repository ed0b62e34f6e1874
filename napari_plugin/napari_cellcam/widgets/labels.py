"""Labels that never make their dock wider, however long the names of files and classes are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

# Characters of a line that are shown where there is room for them only, and at least.
_WANTED, _SHOWN = 16, 8
# A line may break after so many characters without a space.
_LONG_WORD = re.compile(r"[^\s\u200b]{12}(?=[^\s\u200b])")
_BREAK = "\u200b"
_MARKUP = re.compile(r"(<[^<>]*>|&\w+;)")


class WrappedLabel(QLabel):
    """Text in as many lines as it needs; long words, such as paths, are broken, too."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802, D102 - Qt's name
        parts = _MARKUP.split(text)  # markup is every second part
        parts[::2] = [_LONG_WORD.sub(rf"\g<0>{_BREAK}", part) for part in parts[::2]]
        super().setText("".join(parts))

    def text(self) -> str:  # noqa: D102 - Qt's name
        return super().text().replace(_BREAK, "")


class ElidedLabel(QLabel):
    """A label that leaves out the middle of its text where there is no room; the tooltip has all.

    Parameters
    ----------
    text : the whole text
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802, D102 - Qt's name
        super().setText(text)
        self.setToolTip(text)

    def minimumSizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return self._at_most(_SHOWN)

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return self._at_most(_WANTED)

    def _at_most(self, characters: int) -> QSize:
        hint, metrics = super().sizeHint(), self.fontMetrics()
        return QSize(min(hint.width(), characters * metrics.averageCharWidth()), hint.height())

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        room = self.contentsRect()
        middle = Qt.TextElideMode.ElideMiddle
        text = self.fontMetrics().elidedText(self.text(), middle, room.width())
        painter = QPainter(self)
        self.style().drawItemText(
            painter,
            room,
            int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft),
            self.palette(),
            self.isEnabled(),
            text,
            self.foregroundRole(),
        )
        painter.end()
