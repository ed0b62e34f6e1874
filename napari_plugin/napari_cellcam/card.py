"""The card of one cell: crop, calls, evidence for each class, share of each stain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from cellcam.reporting.colours import SKY_BLUE, VERMILION, under_importance_on_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellcam.session import CellCard

_PICTURE = 112  # screen pixels
_COLUMNS = 3


class CellCardView(QWidget):
    """Shows one `CellCard` after the other.

    Its parts stay and get new contents: new ones would have the whole window laid out and drawn
    again, which takes longer than the card.
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.headline = _text("Click a cell to see what it is called, and why.")
        self.pictures = Pictures()
        self.runner_up = _text("")
        self.probabilities = Bars("{:.0%}", "Probability")
        self.shares = Bars("{:+.2f}", "What the call's score loses without each stain")
        self.exactness = _text("")
        column.addWidget(self.headline)
        for part in (
            self.pictures, self.runner_up, self.probabilities, self.shares, self.exactness
        ):  # fmt: skip
            column.addWidget(part)
            part.hide()
        column.addStretch()

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Draw a card; ``colours`` are those of the classes."""
        self.headline.setText(_headline(card))
        self.pictures.show_pictures(_pictures(card))
        self.runner_up.setText(
            "Where the evidence for each class lies, on one scale. "
            f"{card.runner_up} is what the call would change to."
        )
        self.probabilities.show_values(card.probabilities, colours)
        # As many bars before the cell is explained as after: nothing may jump under the mouse.
        self.shares.show_values(card.shares or dict.fromkeys(card.channels, 0.0), {})
        exact = f"The maps are exact to {card.error:.1%} of the strongest (estimated)."
        self.exactness.setText(exact if card.maps else "Explaining...")
        for part in self.findChildren(QWidget):
            part.show()


class Pictures(QWidget):
    """Named pictures, a few in a row."""

    _NAME, _GAP = 18, 4

    def __init__(self) -> None:
        super().__init__()
        self._pictures: list[tuple[str, QImage]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_pictures(self, pictures: list[tuple[str, NDArray[np.float32]]]) -> None:
        """Show names and RGB pictures (Y, X, 3) of 0 to 1 in place of those before."""
        if len(pictures) != len(self._pictures):
            self.updateGeometry()
        self._pictures = [(name, _image(pixels)) for name, pixels in pictures]
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        rows = -(-len(self._pictures) // _COLUMNS)
        step = _PICTURE + self._GAP
        return QSize(_COLUMNS * step, rows * (step + self._NAME))

    def paintEvent(self, _: Any) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        painter.setPen(self.palette().windowText().color())
        step = _PICTURE + self._GAP
        for i, (name, image) in enumerate(self._pictures):
            left, top = i % _COLUMNS * step, i // _COLUMNS * (step + self._NAME)
            size = image.size().scaled(_PICTURE, _PICTURE, Qt.AspectRatioMode.KeepAspectRatio)
            painter.drawImage(QRect(QPoint(left, top), size), image)
            fitting = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, _PICTURE)
            painter.drawText(QRectF(left, top + _PICTURE, _PICTURE, self._NAME), fitting)


class Bars(QWidget):
    """Named numbers as bars, longest first; negative ones point the other way in another colour.

    Parameters
    ----------
    form : how a number is written
    title : above the bars
    """

    _ROW, _NAME, _NUMBER = 18, 110, 52

    def __init__(self, form: str, title: str) -> None:
        super().__init__()
        self.form, self.title = form, title
        self.values: dict[str, float] = {}
        self.colours: Mapping[str, str] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_values(self, values: Mapping[str, float], colours: Mapping[str, str]) -> None:
        """Show other numbers; ``colours`` of some names."""
        if len(values) != len(self.values):
            self.updateGeometry()
        self.values = dict(sorted(values.items(), key=lambda item: -item[1]))
        self.colours = colours
        self.update()

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
            colour = self.colours.get(name, SKY_BLUE if value >= 0 else VERMILION)
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


def _pictures(card: CellCard) -> list[tuple[str, NDArray[np.float32]]]:
    """The crop, and beside it the crop under the map of each class, surest first."""
    from cellcam.reporting.cell_pictures import composite_image

    cell = composite_image(card.crop)
    largest = max((float(image.max()) for image in card.maps.values()), default=0) or 1.0
    names = sorted(card.probabilities, key=card.probabilities.__getitem__, reverse=True)
    nothing = np.zeros(cell.shape[:2], np.float32)
    maps = [(name, card.maps.get(name, nothing) / largest) for name in names]
    return [("the cell", cell), *((name, _under_map(cell, image)) for name, image in maps)]


def _under_map(cell: NDArray[np.float32], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey cell under its importance in yellow and red; without importance it stays grey."""
    grey = np.repeat(0.6 * cell.mean(axis=2, keepdims=True), 3, axis=2)
    return under_importance_on_card(grey, importance)


def _image(pixels: NDArray[np.float32]) -> QImage:
    data = np.ascontiguousarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    height, width = data.shape[:2]
    # A copy: Qt does not hold on to numpy's memory.
    return QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
