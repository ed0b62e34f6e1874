"""The images of a batch: how each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QTableView

from cellcam.reporting.colours import GREEN, ORANGE, SKY_BLUE, VERMILION
from napari_cellcam.sorted_columns import SortedColumns

if TYPE_CHECKING:
    from cellcam.batch.progress import ImageProgress

# Told apart by everyone, on dark and on light ground.
_COLOURS = {"done": GREEN, "running": SKY_BLUE, "refused": ORANGE, "failed": VERMILION}
_WIDEST = 200


class BatchTable(QTableView):
    """One row for each image; ``asked_for`` tells one that was clicked twice."""

    asked_for = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._images: list[ImageProgress] = []
        self._rows = _Rows()
        self.setModel(self._rows)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setResizeContentsPrecision(100)
        self.setWordWrap(False)
        self.setMinimumHeight(180)
        self.doubleClicked.connect(self._tell)

    def show_images(self, images: Sequence[ImageProgress]) -> None:
        """Show how images stand; the order on the screen and the selection stay."""
        columns: dict[str, list[Any]] = {
            "image": [one.name for one in images],
            "state": [_state(one) for one in images],
            "cells": [one.cells if one.state == "done" else "" for one in images],
            "reason": [_reason(one) for one in images],
        }
        same = [one.name for one in images] == [one.name for one in self._images]
        self._images = list(images)
        if not same:
            self._rows.replace(columns)
            self._fit()
            return
        for name in ("state", "cells", "reason"):
            self._rows.replace_column(name, columns[name])

    def _fit(self) -> None:
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.resizeColumnToContents(0)
        self.setColumnWidth(0, min(_WIDEST, self.columnWidth(0)))
        self.setColumnWidth(1, 80)
        self.setColumnWidth(2, 60)

    def _tell(self, index: QModelIndex) -> None:
        self.asked_for.emit(self._images[self._rows.row_at(index.row())])


class _Rows(SortedColumns):
    """States in their colours, and reasons in full where the mouse rests."""

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        text = super().data(index)
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            colour = _COLOURS.get(text.split()[0])
            return QColor(colour) if colour else None
        if role == Qt.ItemDataRole.ToolTipRole and text:
            return f"<p>{escape(text)}</p>"
        return super().data(index, role)


def _state(image: ImageProgress) -> str:
    """The state; of a huge image also how far it is."""
    share = f" {image.part:.0%}" if image.state == "running" and image.part else ""
    return image.state + share


def _reason(image: ImageProgress) -> str:
    """The reason in one line that does not begin with a long path."""
    return " ".join(image.reason.replace(image.file, Path(image.file).name).split())
