"""The images of a batch and their progress, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QTableView

from cellcam.reporting.colours import GREEN, ORANGE, SKY_BLUE, VERMILION
from napari_cellcam.widgets.table_model import SortableTableModel

if TYPE_CHECKING:
    from cellcam.batch.progress import ImageProgress

# Readable for the colour-blind, on dark and on light ground.
_COLOURS = {"done": GREEN, "running": SKY_BLUE, "refused": ORANGE, "failed": VERMILION}
_WIDEST = 200


class BatchTable(QTableView):
    """One row for each image.

    Signals
    -------
    image_requested : progress of an image that was double-clicked
    """

    image_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._images: list[ImageProgress] = []
        self._rows = _BatchTableModel()
        self.setModel(self._rows)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setResizeContentsPrecision(100)
        self.setWordWrap(False)
        self.setMinimumHeight(180)
        self.doubleClicked.connect(self._emit_requested)

    def show_images(self, images: Sequence[ImageProgress]) -> None:
        """Show progress; the order on the screen and the selection stay for the same images."""
        columns: dict[str, list[object]] = {
            "image": [image.name for image in images],
            "state": [_state(image) for image in images],
            "cells": [image.cells if image.state == "done" else "" for image in images],
            "reason": [_reason(image) for image in images],
        }
        same = [image.name for image in images] == [image.name for image in self._images]
        self._images = list(images)
        if not same:
            self._rows.replace(columns)
            self._fit_columns()
            return
        for name in ("state", "cells", "reason"):
            self._rows.replace_column(name, columns[name])

    def _fit_columns(self) -> None:
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.resizeColumnToContents(0)
        self.setColumnWidth(0, min(_WIDEST, self.columnWidth(0)))
        self.setColumnWidth(1, 80)
        self.setColumnWidth(2, 60)

    def _emit_requested(self, index: QModelIndex) -> None:
        self.image_requested.emit(self._images[self._rows.table_row(index.row())])


class _BatchTableModel(SortableTableModel):
    """States in their colours; the full reason as a tooltip."""

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        text = str(super().data(index))
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            colour = _COLOURS.get(text.split()[0])
            return QColor(colour) if colour else None
        if role == Qt.ItemDataRole.ToolTipRole and text:
            return f"<p>{escape(text)}</p>"
        return super().data(index, role)


def _state(image: ImageProgress) -> str:
    """The state, and the finished share of a huge image."""
    share = f" {image.part:.0%}" if image.state == "running" and image.part else ""
    return image.state + share


def _reason(image: ImageProgress) -> str:
    """The reason on one line, with the file's name instead of its long path."""
    return " ".join(image.reason.replace(image.file, Path(image.file).name).split())
