"""The table of all cells, sorted as the user likes, linked both ways with the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QTableView

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("label", "class", "probability", "margin", "said", "t", "z", "flags")


class CellsTable(QTableView):
    """Cells of a session; ``chosen`` tells the row that the user went to, ``selected`` all.

    A click on a heading sorts; by margin, the doubtful cells come first.
    """

    chosen = Signal(int)
    selected = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._model = _Frame()
        self._sorted = QSortFilterProxyModel()
        self._sorted.setSourceModel(self._model)
        self._sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self.setModel(self._sorted)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        self.setMinimumHeight(140)
        self.selectionModel().currentRowChanged.connect(self._tell)
        self.selectionModel().selectionChanged.connect(
            lambda *_: self.selected.emit(self.selected_rows())
        )
        self._silent = False

    def show_cells(self, table: pd.DataFrame) -> None:
        """Show these cells."""
        self._model.replace(table)
        if self.horizontalHeader().sortIndicatorSection() == 0:
            self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.resizeColumnsToContents()

    def show_said(self, said: list[str]) -> None:
        """Show the classes that the user gave, one for each cell, empty where none."""
        self._model.replace_column("said", said)

    def go_to(self, row: int, more: bool = False) -> None:
        """Select a cell, told from elsewhere; ``more`` keeps those that are selected."""
        self._silent = True
        at = self._sorted.mapFromSource(self._model.index(row, 0))
        how = QItemSelectionModel.SelectionFlag
        kept = how.Toggle if more else how.ClearAndSelect
        self.selectionModel().setCurrentIndex(at, kept | how.Rows)
        self._silent = False

    def step(self, by: int) -> None:
        """Go on by some rows in the order shown."""
        at = self.currentIndex().row() + by
        if 0 <= at < self._sorted.rowCount():
            self.selectRow(at)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        if event.text().isalnum():
            event.ignore()  # letters and digits are the dock's, not a search in the table
        else:
            super().keyPressEvent(event)

    def selected_rows(self) -> list[int]:
        """Rows of the table, not of its order on the screen."""
        return [
            self._sorted.mapToSource(index).row() for index in self.selectionModel().selectedRows()
        ]

    def _tell(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid() and not self._silent:
            self.chosen.emit(self._sorted.mapToSource(index).row())


class _Frame(QAbstractTableModel):
    """Columns of a table for Qt."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[str, list[Any]] = {}

    def replace(self, table: pd.DataFrame) -> None:
        self.beginResetModel()
        many = {name for name in ("t", "z") if table[name].nunique() < 2}
        names = [name for name in _SHOWN if name in table and name not in many]
        self._columns = {name: table[name].tolist() for name in names}
        self.endResetModel()

    def replace_column(self, name: str, values: list[Any]) -> None:
        if name not in self._columns:
            self.beginInsertColumns(QModelIndex(), len(self._columns), len(self._columns))
            self._columns[name] = values
            self.endInsertColumns()
            return
        self._columns[name] = values
        column = list(self._columns).index(name)
        self.dataChanged.emit(self.index(0, column), self.index(len(values) - 1, column))

    def rowCount(self, _: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(next(iter(self._columns.values()), []))

    def columnCount(self, _: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(self._columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        value = list(self._columns.values())[index.column()][index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return value
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{value:.2f}" if isinstance(value, float) else str(value)
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return list(self._columns)[section]
        return None
