"""A card as a picture: PNG, SVG, clipboard, and a window of its own beside the next card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, QRect, Qt, Signal
from qtpy.QtGui import QPainter, QPixmap
from qtpy.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QLabel, QToolButton, QWidget

from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    from napari_cellcam.state.cell_card import CellCard

_KINDS = "Picture (*.png);;Drawing (*.svg)"
_SHARPER = 2  # pixels of an exported picture for each on the screen
_APART = 30  # screen pixels between pinned cards
_OF_SCREEN = 0.85  # height of the tallest pinned card


class CardExport(QWidget):
    """Buttons: save the card, copy it, or pin it in a window of its own.

    Parameters
    ----------
    content : the widget that shows the card
    shown : the card that is shown

    Signals
    -------
    message : what was done, or why it could not be done
    """

    message = Signal(str)

    def __init__(self, content: QWidget, shown: Callable[[], CellCard | None]) -> None:
        super().__init__()
        self._content, self._shown = content, shown
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.save_button = _button(
            "Save...", "Save this card as a picture (PNG) or a drawing (SVG).", self._ask, row
        )
        self.copy_button = _button("Copy", "Copy this card as a picture.", self.copy, row)
        self.pin_button = _button(
            "Pin", "Keep this card in a window of its own, beside the next cell.", self.pin, row
        )
        self._pinned: list[QWidget] = []

    def save(self, path: Path) -> None:
        """Write the card; the ending says whether as PNG or as SVG with text as text.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with whole_file(path) as temporary:
            if path.suffix.lower() == ".svg":
                self._write_svg(temporary)
            elif not self.picture().save(str(temporary), "PNG"):
                raise OSError(f"{path} could not be written.")

    def copy(self) -> None:
        """Copy the card to the clipboard."""
        QApplication.clipboard().setPixmap(self.picture())
        self.message.emit("The card was copied as a picture.")

    def pin(self) -> QWidget:
        """Show the card as it is now in a window of its own, for comparison with others."""
        card, pinned = self._shown(), QLabel()
        screen = self.screen().availableGeometry()
        picture = self.picture()
        # A card is as tall as a small screen.
        too_tall = picture.height() / picture.devicePixelRatio() / (_OF_SCREEN * screen.height())
        picture.setDevicePixelRatio(picture.devicePixelRatio() * max(1, too_tall))
        pinned.setPixmap(picture)
        pinned.setFixedSize(pinned.sizeHint())  # Qt would show two thirds of a tall one
        pinned.setWindowTitle(f"Cell {card.label} of {card.image}" if card else "Cell")
        pinned.setToolTip("A pinned card: a picture of what was known when it was pinned.")
        pinned.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        pinned.destroyed.connect(lambda: self._pinned.remove(pinned))
        pinned.setParent(self.window(), Qt.WindowType.Tool)
        further = _APART * (1 + len(self._pinned))
        left = self.mapToGlobal(QPoint(0, 0)).x() - pinned.sizeHint().width() - further
        pinned.move(max(screen.left(), left), screen.top() + further)
        pinned.show()
        self._pinned.append(pinned)
        return pinned

    def picture(self) -> QPixmap:
        """The card, sharper than on the screen."""
        size = self._content.size()
        ratio = max(_SHARPER, self._content.devicePixelRatioF())
        picture = QPixmap(size * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(self._content.palette().window().color())
        self._content.render(picture)
        return picture

    def _ask(self) -> None:
        card = self._shown()
        name = f"cell_{card.label}.png" if card else "cell.png"
        chosen, kind = QFileDialog.getSaveFileName(self, "Save the card", name, _KINDS)
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.lower() not in (".png", ".svg"):
            path = path.with_name(path.name + (".svg" if "svg" in kind else ".png"))
        try:
            self.save(path)
        except OSError as error:
            self.message.emit(f"The card could not be saved: {error}")
        else:
            self.message.emit(f"The card was saved as {path}.")

    def _write_svg(self, path: Path) -> None:
        from qtpy.QtSvg import QSvgGenerator

        size = self._content.size()
        drawing = QSvgGenerator()
        drawing.setFileName(str(path))
        drawing.setSize(size)
        drawing.setViewBox(QRect(QPoint(0, 0), size))
        drawing.setTitle("CellCam, card of a cell")
        painter = QPainter()
        if not painter.begin(drawing):
            raise OSError(f"{path} could not be written.")
        painter.fillRect(QRect(QPoint(0, 0), size), self._content.palette().window())
        self._content.render(painter, QPoint(0, 0))
        painter.end()


def _button(text: str, tip: str, action: Callable[[], object], row: QHBoxLayout) -> QToolButton:
    made = QToolButton()
    made.setText(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda: action())
    row.addWidget(made)
    return made
