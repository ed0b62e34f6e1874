"""The selected cell in small, beside the buttons that give it its true class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QWidget

from cellcam.reporting.cell_pictures import composite_image
from cellcam.reporting.colours import difference_on_cell
from napari_cellcam.widgets.charts import Pictures
from napari_cellcam.widgets.labels import WrappedLabel

if TYPE_CHECKING:
    from napari_cellcam.state.cell_card import CellCard

_SIZE = 64  # screen pixels


class SelectedCell(QWidget):
    """Picture of a cell, where its call comes from, and what it is; hidden without a cell."""

    def __init__(self) -> None:
        super().__init__()
        self._card: CellCard | None = None
        self.pictures = Pictures(_SIZE, 2, captions=False)
        self.pictures.setToolTip(
            "The selected cell; beside it, orange speaks for its call and blue against it. The "
            "tab 'The cell' says more."
        )
        self.text = WrappedLabel()
        self.text.setTextFormat(Qt.TextFormat.RichText)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.pictures)
        row.addWidget(self.text, 1)
        self.setVisible(False)

    @property
    def row(self) -> int | None:
        """Row of the cell in its session's table."""
        return None if self._card is None else self._card.row

    def show_card(self, card: CellCard | None, true_class: str) -> None:
        """Show a cell; None shows none."""
        self._card = card
        self.setVisible(card is not None)
        if card is None:
            return
        cell = composite_image(card.crop)
        pictures = [("", cell)]
        if card.predicted:
            nothing = np.zeros(cell.shape[:2], np.float32)
            signed = nothing if card.difference is None else card.difference.map
            largest = float(np.abs(signed).max()) or 1.0
            pictures.append(("", difference_on_cell(cell, signed / largest)))
        self.pictures.show_pictures(pictures)
        call = f"<br>{card.predicted}, {card.probability:.0%}" if card.predicted else ""
        call = f"<br>no call: {card.why_no_call}" if card.why_no_call else call
        told = f"<br>true class: <b>{true_class}</b>" if true_class else ""
        self.text.setText(f"Cell {card.label}{call}{told}")

    def show_true_class(self, true_class: str) -> None:
        """Show another true class of the same cell."""
        self.show_card(self._card, true_class)
