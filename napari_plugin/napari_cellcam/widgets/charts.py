"""Small charts that Qt draws: pictures with captions, bars, a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QHelpEvent, QImage, QLinearGradient, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from cellcam.reporting.colours import (
    IMPORTANCE_GAMMA,
    SKY_BLUE,
    VERMILION,
    difference_picture,
    importance_stops,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtGui import QPaintEvent


class Pictures(QWidget):
    """Pictures with captions; the mouse over a picture shows its whole caption.

    Parameters
    ----------
    size : of each picture, screen pixels
    columns : pictures in a row
    title : above the pictures
    captions : whether there is room for captions
    """

    _LINE, _GAP = 18, 4

    def __init__(self, size: int, columns: int, title: str = "", captions: bool = True) -> None:
        super().__init__()
        self._size, self._columns, self._title = size, columns, title
        self._caption = self._LINE if captions else 0
        self._pictures: list[tuple[str, QImage]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def size_of_pictures(self) -> int:
        """Side of each picture, screen pixels."""
        return self._size

    @property
    def captions(self) -> list[str]:
        """Captions of the pictures that are shown."""
        return [caption for caption, _ in self._pictures]

    def show_pictures(self, pictures: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Show these pictures: caption, and RGB (Y, X, 3) between 0 and 1."""
        if len(pictures) != len(self._pictures):
            self.updateGeometry()
        self._pictures = [(caption, _image(pixels)) for caption, pixels in pictures]
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        if not self._pictures:
            return QSize(0, 0)
        columns = min(self._columns, len(self._pictures))
        last = self._place(len(self._pictures) - 1)
        return QSize(
            columns * (self._size + self._GAP), last.bottom() + 1 + self._caption + self._GAP
        )

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setPen(self.palette().windowText().color())
        if self._pictures:
            title = QRectF(0, 0, self.width(), self._LINE)
            painter.drawText(title, _shortened(painter, self._title, self.width()))
        for i, (caption, image) in enumerate(self._pictures):
            place = self._place(i)
            size = image.size().scaled(place.size(), Qt.AspectRatioMode.KeepAspectRatio)
            painter.drawImage(QRect(place.topLeft(), size), image)
            below = place.translated(0, self._size)
            below.setHeight(self._caption)
            painter.drawText(
                below, int(Qt.AlignmentFlag.AlignLeft), _shortened(painter, caption, self._size)
            )

    def event(self, event: QEvent | None) -> bool:  # noqa: D102 - Qt's name
        if isinstance(event, QHelpEvent):
            for i, caption in enumerate(self.captions):
                if self._place(i).adjusted(0, 0, 0, self._caption).contains(event.pos()):
                    QToolTip.showText(
                        event.globalPos(), f"{caption}\n\n{self.toolTip()}".strip(), self
                    )
                    return True
        return bool(super().event(event))

    def _place(self, i: int) -> QRect:
        """Where picture i is drawn."""
        step, top = self._size + self._GAP, self._LINE if self._title else 0
        row, column = divmod(i, self._columns)
        return QRect(column * step, top + row * (step + self._caption), self._size, self._size)


class Bars(QWidget):
    """Named numbers as bars, largest first; negative numbers have another colour.

    Parameters
    ----------
    number_format : format string for a number
    title : above the bars
    """

    _ROW, _NAME, _NUMBER = 18, 110, 52

    def __init__(self, number_format: str, title: str) -> None:
        super().__init__()
        self._number_format, self._title = number_format, title
        self._values: dict[str, float] = {}
        self._colours: Mapping[str, str] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_values(self, values: Mapping[str, float], colours: Mapping[str, str]) -> None:
        """Show these numbers; names without a colour are blue, or red if negative."""
        if len(values) != len(self._values):
            self.updateGeometry()
        self._values = dict(sorted(values.items(), key=lambda item: -item[1]))
        self._colours = colours
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return QSize(260, self._ROW * (len(self._values) + 1) + 4)

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        ink = self.palette().windowText().color()
        painter.setPen(ink)
        painter.drawText(QRectF(0, 0, self.width(), self._ROW), self._title)
        room = max(10, self.width() - self._NAME - self._NUMBER)
        largest = max((abs(v) for v in self._values.values()), default=0) or 1
        for i, (name, value) in enumerate(self._values.items(), start=1):
            top = i * self._ROW
            painter.setPen(ink)
            painter.drawText(
                QRectF(0, top, self._NAME, self._ROW), _shortened(painter, name, self._NAME - 6)
            )
            colour = self._colours.get(name, SKY_BLUE if value >= 0 else VERMILION)
            length = room * abs(value) / largest
            painter.fillRect(QRectF(self._NAME, top + 3, length, self._ROW - 6), QColor(colour))
            painter.drawText(
                QRectF(self._NAME + length + 4, top, self._NUMBER, self._ROW),
                self._number_format.format(value),
            )


class ColourBar(QWidget):
    """The colours of importance, from 0 to the end of the scale."""

    _BAR, _TEXT = 10, 16

    def __init__(self) -> None:
        super().__init__()
        self.largest = 1.0
        self.setFixedHeight(self._BAR + self._TEXT)
        self.setToolTip("Importance: how much a place adds to the score of the class.")

    def show_scale(self, largest: float) -> None:
        """Show the end of the scale; 0 if the map is empty everywhere."""
        self.largest = largest
        self.update()

    @property
    def words(self) -> tuple[str, str]:
        """Texts below both ends."""
        if not self.largest:
            return ("no importance anywhere", "")
        return ("no importance", f"{self.largest:.2g}")

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        gradient = QLinearGradient(0, 0, self.width(), 0)
        for stop, rgba in zip(*importance_stops(), strict=True):
            # The map is drawn with the root of the importance.
            gradient.setColorAt(float(stop) ** (1 / IMPORTANCE_GAMMA), QColor.fromRgbF(*rgba))
        bar = QRectF(0, 0, self.width(), self._BAR)
        painter.fillRect(bar, QColor("#404040"))
        painter.fillRect(bar, gradient)
        painter.setPen(self.palette().windowText().color())
        below = QRectF(0, self._BAR, self.width(), self._TEXT)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, self.words[0])
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, self.words[1])


class DifferenceBar(QWidget):
    """The colours of a difference: against, nothing, for."""

    _BAR, _TEXT, _STOPS = 10, 16, 65

    def __init__(self) -> None:
        super().__init__()
        self._names, self.largest, self._is_cut = ("", ""), 0.0, False
        self.setFixedHeight(self._BAR + 2 * self._TEXT)
        self.setToolTip("How much a pixel adds to the lead of the called class, or takes from it.")

    def show_scale(self, called: str, other: str, largest: float, is_cut: bool = False) -> None:
        """Show both ends of the scale, -largest to largest; 0: not known yet, or an empty map.

        Parameters
        ----------
        is_cut : whether larger values are drawn like those at the end
        """
        self._names, self.largest, self._is_cut = (called, other), largest, is_cut
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        painter = QPainter(self)
        stops = np.linspace(-1, 1, self._STOPS, dtype=np.float32)
        colours = difference_picture(np.full((1, self._STOPS, 1), 0.2, np.float32), stops[None])
        gradient = QLinearGradient(0, 0, self.width(), 0)
        for stop, rgb in zip(stops.tolist(), colours[0].tolist(), strict=True):
            gradient.setColorAt((stop + 1) / 2, QColor.fromRgbF(*rgb))
        painter.fillRect(QRectF(0, 0, self.width(), self._BAR), gradient)
        painter.setPen(self.palette().windowText().color())
        called, other = self._names
        half = self.width() // 2 - 4
        align = Qt.AlignmentFlag
        ends = (f"for {other}", f"for {called}")
        less, more = (" or less", " or more") if self._is_cut else ("", "")
        numbers = f"{-self.largest:.2g}{less}", f"{self.largest:.2g}{more}"
        values = numbers if self.largest else ("", "")
        for i, texts in enumerate((ends, values)):
            below = QRectF(0, self._BAR + i * self._TEXT, self.width(), self._TEXT)
            painter.drawText(below, align.AlignLeft, _shortened(painter, texts[0], half))
            painter.drawText(below, align.AlignRight, _shortened(painter, texts[1], half))
        painter.drawText(
            QRectF(0, self._BAR + self._TEXT, self.width(), self._TEXT),
            align.AlignHCenter,
            "score of a pixel",
        )


class AccuracyCurve(QWidget):
    """Balanced accuracy on validation cells, epoch by epoch, on axes that say so."""

    _HEIGHT, _TITLE, _LEFT, _BOTTOM = 110, 18, 34, 18
    _TICKS = (0.0, 0.5, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []
        self.setFixedHeight(self._HEIGHT)
        self.setToolTip(
            "Mean over the classes of the part of their cells that is called right, among cells "
            "that the network does not learn from."
        )
        self.hide()

    def show_values(self, values: Sequence[float]) -> None:
        """Draw the balanced accuracy of each epoch so far; hidden before the first."""
        self.values = list(values)
        self.setVisible(bool(self.values))
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802, D102 - Qt's name
        if not self.values:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.palette().windowText().color())
        title = f"Balanced accuracy on unseen cells: {self.values[-1]:.2f}"
        align = Qt.AlignmentFlag
        painter.drawText(QRectF(0, 0, self.width(), self._TITLE), align.AlignLeft, title)
        frame = QRectF(
            self._LEFT,
            self._TITLE + 4,
            self.width() - self._LEFT - 6,
            self.height() - self._TITLE - self._BOTTOM - 4,
        )
        self._draw_axes(painter, frame)
        n = len(self.values)
        step = frame.width() / max(1, n - 1)
        points = [
            QPointF(frame.left() + i * step, frame.bottom() - value * frame.height())
            for i, value in enumerate(self.values)
        ]
        painter.setPen(QPen(QColor(SKY_BLUE), 2))
        painter.drawPolyline(QPolygonF(points))

    def _draw_axes(self, painter: QPainter, frame: QRectF) -> None:
        """Accuracy from 0 to 1 upwards, epochs from 1 to the present one to the right."""
        align = Qt.AlignmentFlag
        for tick in self._TICKS:
            y = frame.bottom() - tick * frame.height()
            painter.drawLine(QPointF(frame.left() - 4, y), QPointF(frame.left(), y))
            label = QRectF(0, y - 9, self._LEFT - 6, 18)
            painter.drawText(label, align.AlignRight | align.AlignVCenter, f"{tick:.1f}")
        painter.drawLine(frame.topLeft(), frame.bottomLeft())
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        below = QRectF(frame.left(), frame.bottom() + 2, frame.width(), self._BOTTOM)
        painter.drawText(below, align.AlignLeft, "1")
        painter.drawText(below, align.AlignHCenter, "epoch")
        painter.drawText(below, align.AlignRight, str(len(self.values)))


def _shortened(painter: QPainter, text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` screen pixels."""
    return str(painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, width))


def _image(pixels: NDArray[np.float32]) -> QImage:
    data = np.ascontiguousarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    height, width = data.shape[:2]
    # A copy: Qt does not hold on to numpy's memory.
    return QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
