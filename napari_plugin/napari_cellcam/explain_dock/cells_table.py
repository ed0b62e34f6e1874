"""The table of all cells, sortable, its selection linked with the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_cellcam.widgets.table_model import SortableTableModel

if TYPE_CHECKING:
    import pandas as pd
    from qtpy.QtGui import QKeyEvent

# Rows beyond those in view that decide how wide a column is.
_ROWS_MEASURED = 100

_TRUE_CLASS = "true class"
_CELL_3D = "cell_3d"
_HEADINGS = {_CELL_3D: "3-D cell", "probability": "prob."}
_COLUMNS = ("label", _CELL_3D, "t", "z", "class", "probability", "margin", _TRUE_CLASS, "flags")


class CellsTable(QTableView):
    """Cells of a session. A click on a heading sorts; by margin, the doubtful cells come first.

    Signals
    -------
    chosen : row of the cell table that the user went to
    selected : all selected rows of the cell table
    copied : the user wants the selected rows on the clipboard
    """

    chosen = Signal(int)
    selected = Signal(list)
    copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._cells = SortableTableModel()
        self.setModel(self._cells)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        # What was sorted for comes first: Qt would stay with the rows that were in view.
        self.horizontalHeader().sortIndicatorChanged.connect(self.scrollToTop)
        self.verticalHeader().hide()
        self.horizontalHeader().setResizeContentsPrecision(_ROWS_MEASURED)
        self.setMinimumHeight(140)
        self.selectionModel().currentRowChanged.connect(self._emit_chosen)
        self.selectionModel().selectionChanged.connect(
            lambda *_: self.selected.emit(self.selected_rows())
        )
        self._is_silent = False

    def show_cells(self, table: pd.DataFrame) -> None:
        """Show these cells; t and z only where there are several."""
        self._cells.replace(_shown_columns(table))
        header = self.horizontalHeader()
        self.sortByColumn(header.sortIndicatorSection(), header.sortIndicatorOrder())
        self.resizeColumnsToContents()

    def update_cells(self, table: pd.DataFrame) -> None:
        """Show other facts about the same cells; selection and sorting stay."""
        for heading, values in _shown_columns(table).items():
            self._cells.replace_column(heading, values)

    def clear(self) -> None:
        """Show no cells."""
        self._cells.replace({})

    def show_true_classes(self, classes: list[str]) -> None:
        """Show the class that the user assigned to each cell; empty for none."""
        self._cells.replace_column(_TRUE_CLASS, classes)

    def select_cell(self, row: int, extend: bool = False) -> None:
        """Select a cell without emitting ``chosen``; ``extend`` toggles it in the selection."""
        self._is_silent = True
        flags = QItemSelectionModel.SelectionFlag
        change = flags.Toggle if extend else flags.ClearAndSelect
        index = self._cells.index(self._cells.screen_row(row), 0)
        self.selectionModel().setCurrentIndex(index, change | flags.Rows)
        self._is_silent = False

    def select_cells(self, rows: Sequence[int]) -> None:
        """Select several cells; the current one stays."""
        flags = QItemSelectionModel.SelectionFlag
        selection = QItemSelection()
        for row in rows:
            index = self._cells.index(self._cells.screen_row(row), 0)
            selection.select(index, index)
        self.selectionModel().select(selection, flags.ClearAndSelect | flags.Rows)

    def step(self, by: int) -> None:
        """Go on by some rows in the order on the screen."""
        row = self.currentIndex().row() + by
        if 0 <= row < self._cells.rowCount():
            self.selectRow(row)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802, D102 - Qt's name
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copied.emit()  # Qt would copy what is shown of a single entry
        elif event.text().isalnum():
            event.ignore()  # keys of the dock widget; Qt would search in the table
        else:
            super().keyPressEvent(event)

    def selected_rows(self) -> list[int]:
        """Selected rows of the cell table."""
        indices = self.selectionModel().selectedRows()
        return [self._cells.table_row(index.row()) for index in indices]

    def rows_on_screen(self, selected: bool) -> list[int]:
        """Rows of the cell table from top to bottom: the selected ones, or all."""
        chosen = {index.row() for index in self.selectionModel().selectedRows()}
        rows = sorted(chosen) if selected else range(self._cells.rowCount())
        return [self._cells.table_row(row) for row in rows]

    def _emit_chosen(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid() and not self._is_silent:
            self.chosen.emit(self._cells.table_row(index.row()))


def _shown_columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Values of the columns that are shown, by heading."""
    constant = {name for name in ("t", "z") if table[name].nunique() < 2}
    names = [name for name in _COLUMNS if name in table and name not in constant]
    columns = {_HEADINGS.get(name, name): table[name].tolist() for name in names}
    if "class" in columns:  # empty for cells without a call
        columns["class"] = [name if isinstance(name, str) else "" for name in columns["class"]]
    if _CELL_3D in table and "z" in columns:  # plane numbers, to be sorted as such
        columns["z"] = [int(z) for z in columns["z"]]
    return columns
