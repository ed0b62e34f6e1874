"""A table for Qt, sorted by numpy: Qt's own sorting asks Python for every pair of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt


class SortedColumns(QAbstractTableModel):
    """Columns of a table for Qt, sorted by numpy: Qt's own sorting asks Python for every pair."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._columns: list[list[Any]] = []
        self._order = np.zeros(0, int)  # row of the table at each place on the screen

    def replace(self, columns: dict[str, list[Any]]) -> None:
        """Show other rows, in their own order."""
        self.beginResetModel()
        self._names, self._columns = list(columns), list(columns.values())
        self._order = np.arange(max(map(len, self._columns), default=0))
        self.endResetModel()

    def replace_column(self, name: str, values: list[Any]) -> None:
        """Show other values for the same rows; a new column where there is none of the name."""
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
        """Row of the table at a place on the screen."""
        return int(self._order[place])

    def place_of(self, row: int) -> int:
        """Place on the screen of a row of the table."""
        return int(np.flatnonzero(self._order == row)[0])

    def sort(  # noqa: D102 - Qt's name
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
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

    def rowCount(self, _: Any = None) -> int:  # noqa: N802, D102 - Qt's name
        return len(self._order)

    def columnCount(self, _: Any = None) -> int:  # noqa: N802, D102 - Qt's name
        return len(self._names)

    def data(  # noqa: D102 - Qt's name
        self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self._columns[index.column()][self._order[index.row()]]
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    def headerData(  # noqa: N802, D102 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._names[section]
        return None
