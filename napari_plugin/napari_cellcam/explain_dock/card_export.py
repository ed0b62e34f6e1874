"""A card as a picture: PNG, SVG, clipboard, and a window of its own beside the next card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QMenu, QToolButton, QWidget

if TYPE_CHECKING:
    from napari_cellcam.state.cell_card import CellCard

_KINDS = "Picture (*.png);;Drawing (*.svg)"


class CardExport(QToolButton):
    """A button with a menu: save the card, copy it, or keep it in a window of its own.

    Parameters
    ----------
    content : the widget that shows the card
    shown : the card that is shown
    """

    def __init__(self, content: QWidget, shown: Callable[[], CellCard | None]) -> None:
        super().__init__()
        self._content, self._shown = content, shown
        self.setText("Card...")
        self.setToolTip("Save or copy this card, or keep it beside the next.")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.addAction("Save as PNG or SVG...", self._ask)
        menu.addAction("Copy as picture", self.copy)
        menu.addAction("Keep in a window of its own", self.keep)
        self.setMenu(menu)
        self._kept: list[QWidget] = []

    def save(self, path: Path) -> None:
        """Write the card; the ending says whether as PNG or as SVG with text as text.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if path.suffix.lower() == ".svg":
            self._save_svg(path)
        elif not self._content.grab().save(str(path), "PNG"):
            raise OSError(f"{path} could not be written.")

    def copy(self) -> None:
        """Copy the card to the clipboard."""
        QApplication.clipboard().setPixmap(self._content.grab())

    def keep(self) -> QWidget:
        """Show the card as it is now in a window of its own, for comparison with others."""
        card, picture = self._shown(), QLabel()
        picture.setPixmap(self._content.grab())
        picture.setWindowTitle(f"Cell {card.label}" if card else "Cell")
        picture.setWindowFlag(Qt.WindowType.Tool)
        picture.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        picture.destroyed.connect(lambda: self._kept.remove(picture))
        picture.setParent(self.window(), picture.windowFlags())
        picture.move(self.mapToGlobal(QPoint(-picture.sizeHint().width() - 40, 40)))
        picture.show()
        self._kept.append(picture)
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
        self.save(path)

    def _save_svg(self, path: Path) -> None:
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
