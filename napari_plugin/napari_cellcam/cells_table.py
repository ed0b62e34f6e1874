"""The table of all cells, sorted as the user likes, linked both ways with the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QTableView

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
        self._cells = _Frame()
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
        self._cells.replace(table)
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


class _Frame(QAbstractTableModel):
    """Columns of a table for Qt, sorted by numpy: Qt's own sorting asks Python for every pair."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._columns: list[list[Any]] = []
        self._order = np.zeros(0, int)  # row of the table at each place on the screen

    def replace(self, table: pd.DataFrame) -> None:
        self.beginResetModel()
        single = {name for name in ("t", "z") if table[name].nunique() < 2}
        self._names = [name for name in _SHOWN if name in table and name not in single]
        self._columns = [table[name].tolist() for name in self._names]
        self._order = np.arange(len(table))
        self.endResetModel()

    def replace_column(self, name: str, values: list[Any]) -> None:
        if name not in self._names:
            self.beginInsertColumns(QModelIndex(), len(self._names), len(self._names))
            self._names.append(name)
            self._columns.append(values)
            self.endInsertColumns()
            return
        column = self._names.index(name)
        self._columns[column] = values
        self.dataChanged.emit(self.index(0, column), self.index(len(values) - 1, column))

    def row_at(self, place: int) -> int:
        return int(self._order[place])

    def place_of(self, row: int) -> int:
        return int(np.flatnonzero(self._order == row)[0])

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if not 0 <= column < len(self._columns):
            return
        self.layoutAboutToBeChanged.emit()
        kept = self.persistentIndexList()
        rows = [self.row_at(index.row()) for index in kept]
        places = np.argsort(np.array(self._columns[column]), kind="stable")
        self._order = places if order == Qt.SortOrder.AscendingOrder else places[::-1]
        now = [
            self.index(self.place_of(row), index.column())
            for row, index in zip(rows, kept, strict=True)
        ]
        self.changePersistentIndexList(kept, now)
        self.layoutChanged.emit()

    def rowCount(self, _: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(self._order)

    def columnCount(self, _: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(self._names)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self._columns[index.column()][self._order[index.row()]]
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._names[section]
        return None
