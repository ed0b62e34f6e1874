"""The card of one cell: crop, calls, evidence for each class, share of each stain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellcam.session import CellCard

_PICTURE = 112  # screen pixels
_COLUMNS = 3
_STAIN, _AGAINST = "#56B4E9", "#D55E00"


class CellCardView(QWidget):
    """Shows one `CellCard`."""

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._content: QWidget | None = None
        self.say("Click a cell to see what it is called, and why.")

    def say(self, text: str) -> None:
        """Text instead of a card."""
        label = QLabel(text)
        label.setWordWrap(True)
        self._put(label)

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Draw a card; ``colours`` are those of the classes."""
        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(_text(_headline(card)))
        rows.addLayout(_pictures(card))
        named = f"{card.runner_up} is what the call would change to."
        rows.addWidget(_text(f"Where the evidence for each class lies, on one scale. {named}"))
        rows.addWidget(Bars(card.probabilities, colours, "{:.0%}", "Probability"))
        # As many bars before the cell is explained as after: nothing may jump under the mouse.
        shares = card.shares or dict.fromkeys(card.channels, 0.0)
        rows.addWidget(
            Bars(shares, {}, "{:+.2f}", "What the call's score loses without each stain")
        )
        exact = f"The maps are exact to {card.error:.1%} of themselves (estimated)."
        rows.addWidget(_text(exact if card.maps else "Explaining..."))
        self._put(content)

    def _put(self, content: QWidget) -> None:
        if self._content is not None:
            self._column.removeWidget(self._content)
            self._content.deleteLater()
        self._content = content
        self._column.addWidget(content)


class Bars(QWidget):
    """Named numbers as bars, longest first; negative ones point the other way in another colour.

    Parameters
    ----------
    values : name and number
    colours : of some names
    form : how a number is written
    title : above the bars
    """

    _ROW, _NAME, _NUMBER = 18, 110, 52

    def __init__(
        self, values: Mapping[str, float], colours: Mapping[str, str], form: str, title: str
    ) -> None:
        super().__init__()
        self.values = dict(sorted(values.items(), key=lambda item: -item[1]))
        self.colours, self.form, self.title = colours, form, title
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return QSize(260, self._ROW * (len(self.values) + 1) + 4)

    def paintEvent(self, _: Any) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        ink = self.palette().windowText().color()
        painter.setPen(ink)
        painter.drawText(QRectF(0, 0, self.width(), self._ROW), self.title)
        room = max(10, self.width() - self._NAME - self._NUMBER)
        largest = max((abs(v) for v in self.values.values()), default=0) or 1
        for i, (name, value) in enumerate(self.values.items(), start=1):
            top = i * self._ROW
            painter.setPen(ink)
            fitting = painter.fontMetrics().elidedText(
                name, Qt.TextElideMode.ElideRight, self._NAME - 6
            )
            painter.drawText(QRectF(0, top, self._NAME, self._ROW), fitting)
            colour = self.colours.get(name, _STAIN if value >= 0 else _AGAINST)
            length = room * abs(value) / largest
            painter.fillRect(QRectF(self._NAME, top + 3, length, self._ROW - 6), QColor(colour))
            painter.drawText(
                QRectF(self._NAME + length + 4, top, self._NUMBER, self._ROW),
                self.form.format(value),
            )


def _headline(card: CellCard) -> str:
    facts = card.facts
    doubts = f" Doubts: {facts['flags'].replace(';', ', ')}." if facts["flags"] else ""
    return (
        f"<b style='font-size: large'>{facts['class']}</b>, {facts['probability']:.0%}. "
        f"Cell {facts['label']}.{doubts}"
    )


def _pictures(card: CellCard) -> QGridLayout:
    """The crop, and beside it the crop under the map of each class, surest first."""
    from cellcam.reporting.overview import composite_image

    cell = composite_image(card.crop)
    largest = max((float(image.max()) for image in card.maps.values()), default=0) or 1.0
    names = sorted(card.probabilities, key=card.probabilities.__getitem__, reverse=True)
    nothing = np.zeros(cell.shape[:2], np.float32)
    pictures = [("the cell", cell)]
    pictures += [(name, _under_map(cell, card.maps.get(name, nothing) / largest)) for name in names]
    grid = QGridLayout()
    grid.setSpacing(4)
    for i, (name, picture) in enumerate(pictures):
        column, row = i % _COLUMNS, 2 * (i // _COLUMNS)
        grid.addWidget(_picture(picture), row, column)
        grid.addWidget(QLabel(name), row + 1, column)
    grid.setColumnStretch(_COLUMNS, 1)
    return grid


def _under_map(cell: NDArray[np.float32], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey cell under its importance in yellow and red; without importance it stays grey."""
    grey = np.repeat(0.6 * cell.mean(axis=2, keepdims=True), 3, axis=2)
    strength = np.clip(importance, 0, 1)[..., None]
    colour = np.concatenate(
        [np.ones_like(strength), strength**1.5, 0.15 * np.ones_like(strength)], axis=2
    )
    shown = np.sqrt(strength)
    return (1 - shown) * grey + shown * colour


def _picture(pixels: NDArray[np.float32]) -> QLabel:
    data = np.ascontiguousarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    height, width = data.shape[:2]
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    label = QLabel()
    label.setPixmap(
        QPixmap.fromImage(image).scaled(_PICTURE, _PICTURE, Qt.AspectRatioMode.KeepAspectRatio)
    )
    return label


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
