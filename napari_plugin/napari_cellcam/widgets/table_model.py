"""A Qt table model that numpy sorts: Qt would call Python for every pair of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

_NO_PARENT = QModelIndex()


class SortableTableModel(QAbstractTableModel):
    """Named columns, sorted by one of them.

    Row numbers are those of the table, before sorting, except where they are called screen rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._columns: list[Sequence[object]] = []
        self._order = np.zeros(0, int)  # table row at each screen row

    def replace(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Show other columns, not sorted yet."""
        self.beginResetModel()
        self._names, self._columns = list(columns), list(columns.values())
        self._order = np.arange(max(map(len, self._columns), default=0))
        self.endResetModel()

    def replace_column(self, name: str, values: Sequence[object]) -> None:
        """Show other values in a column, or add the column; the sorting stays."""
        if name not in self._names:
            self.beginInsertColumns(QModelIndex(), len(self._names), len(self._names))
            self._names.append(name)
            self._columns.append(values)
            self.endInsertColumns()
            return
        column = self._names.index(name)
        self._columns[column] = values
        self.dataChanged.emit(self.index(0, column), self.index(len(values) - 1, column))

    def table_row(self, screen_row: int) -> int:
        """Row of the table at a row of the screen."""
        return int(self._order[screen_row])

    def screen_row(self, table_row: int) -> int:
        """Row of the screen that shows a row of the table."""
        return int(np.flatnonzero(self._order == table_row)[0])

    def sort(  # noqa: D102 - Qt's name
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        if not 0 <= column < len(self._columns):
            return
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        rows = [self.table_row(index.row()) for index in before]
        self._order = _sorted_rows(
            np.array(self._columns[column]), order == Qt.SortOrder.AscendingOrder
        )
        after = [
            self.index(self.screen_row(row), index.column())
            for row, index in zip(rows, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def rowCount(self, _: QModelIndex = _NO_PARENT) -> int:  # noqa: N802, D102 - Qt's name
        return len(self._order)

    def columnCount(self, _: QModelIndex = _NO_PARENT) -> int:  # noqa: N802, D102 - Qt's name
        return len(self._names)

    def data(  # noqa: D102 - Qt's name
        self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self._columns[index.column()][self._order[index.row()]]
        if value is None:
            return ""
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.2f}"
        return str(value)

    def headerData(  # noqa: N802, D102 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._names[section]
        return None


def _sorted_rows(values: NDArray[np.generic], ascending: bool) -> NDArray[np.intp]:
    """Rows in the order of their values; rows without a value come last either way."""
    order = np.argsort(values, kind="stable")
    n = len(values) - int(np.isnan(values).sum() if values.dtype.kind == "f" else 0)
    return order if ascending else np.concatenate([order[:n][::-1], order[n:]])
