"""The table of all cells, sorted as the user likes, linked both ways with the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_cellcam.sorted_columns import SortedColumns

if TYPE_CHECKING:
    import pandas as pd

# Rows beyond those in view that decide how wide a column is.
_ROWS_MEASURED = 100

_SHOWN = ("label", "class", "probability", "margin", "said", "t", "z", "flags")


class CellsTable(QTableView):
    """Cells of a session; ``chosen`` tells the row that the user went to, ``selected`` all.

    A click on a heading sorts; by margin, the doubtful cells come first.
    """

    chosen = Signal(int)
    selected = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._cells = SortedColumns()
        self.setModel(self._cells)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        self.horizontalHeader().setResizeContentsPrecision(_ROWS_MEASURED)
        self.setMinimumHeight(140)
        self.selectionModel().currentRowChanged.connect(self._tell)
        self.selectionModel().selectionChanged.connect(
            lambda *_: self.selected.emit(self.selected_rows())
        )
        self._silent = False

    def show_cells(self, table: pd.DataFrame) -> None:
        """Show these cells."""
        single = {name for name in ("t", "z") if table[name].nunique() < 2}
        names = [name for name in _SHOWN if name in table and name not in single]
        self._cells.replace({name: table[name].tolist() for name in names})
        header = self.horizontalHeader()
        self.sortByColumn(header.sortIndicatorSection(), header.sortIndicatorOrder())
        self.resizeColumnsToContents()

    def show_said(self, said: list[str]) -> None:
        """Show the classes that the user gave, one for each cell, empty where none."""
        self._cells.replace_column("said", said)

    def go_to(self, row: int, more: bool = False) -> None:
        """Select a cell, told from elsewhere; ``more`` keeps those that are selected."""
        self._silent = True
        how = QItemSelectionModel.SelectionFlag
        kept = how.Toggle if more else how.ClearAndSelect
        at = self._cells.index(self._cells.place_of(row), 0)
        self.selectionModel().setCurrentIndex(at, kept | how.Rows)
        self._silent = False

    def step(self, by: int) -> None:
        """Go on by some rows in the order shown."""
        at = self.currentIndex().row() + by
        if 0 <= at < self._cells.rowCount():
            self.selectRow(at)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        if event.text().isalnum():
            event.ignore()  # letters and digits are the dock's, not a search in the table
        else:
            super().keyPressEvent(event)

    def selected_rows(self) -> list[int]:
        """Rows of the table, not of its order on the screen."""
        return [self._cells.row_at(index.row()) for index in self.selectionModel().selectedRows()]

    def _tell(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid() and not self._silent:
            self.chosen.emit(self._cells.row_at(index.row()))
