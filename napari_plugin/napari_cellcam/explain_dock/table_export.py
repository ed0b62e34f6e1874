"""The table of cells as a file and on the clipboard: all columns, in full precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtWidgets import QApplication, QFileDialog, QMenu, QToolButton

from napari_cellcam.explain_dock.cells_table import CellsTable
from napari_cellcam.widgets.keyboard import KeyAction

if TYPE_CHECKING:
    from napari_cellcam.state.session import Session


class TableExport(QToolButton):
    """A button that saves the table; the table's own menu saves and copies.

    Parameters
    ----------
    table : what is selected and how it is sorted
    session : the session that is shown, if there is any

    Signals
    -------
    message : what was done, or what is wrong
    """

    message = Signal(str)

    def __init__(self, table: CellsTable, session: Callable[[], Session | None]) -> None:
        super().__init__()
        self._table, self._session = table, session
        self.keys = (KeyAction("Ctrl+C", "in the table: copy the selected rows", self.copy),)
        self.setText("Save table...")
        self.setAutoRaise(True)
        self.setToolTip(
            "Save all columns as CSV, with the true classes; or the cells with their outlines for "
            "QuPath (.geojson), ImageJ (.zip) and others. Rows are copied with Ctrl+C in the "
            "table, or by its menu (right click)."
        )
        self.clicked.connect(lambda: self.ask_file())
        table.copied.connect(self.copy)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._offer)
        table.model().modelReset.connect(self._follow)
        self._follow()

    def save(self, path: Path) -> None:
        """Write the whole table as CSV, or the cells with their outlines for other programs.

        The table has its own order, and the columns of a batch's ``cells.csv``. The ending of the
        path decides, see `cellcam.exchange.formats`.
        """
        from cellcam.errors import CellCamError
        from cellcam.exchange.formats import writing_format
        from cellcam.stacks.writing import spreadsheet_safe, whole_file

        session = self._session()
        if session is None:
            return
        known = None if path.suffix.lower() == ".csv" else writing_format(path)
        try:
            if known is not None:
                known.write(session.exchanged_cells(), path)
            else:
                with whole_file(path) as temporary:
                    spreadsheet_safe(session.table).to_csv(temporary, index=False)
        except CellCamError as error:
            self.message.emit(str(error))
        except OSError as error:
            self.message.emit(f"{path} could not be written: {error.strerror}.")
        else:
            self.message.emit(f"{len(session.table)} cells written to {path}")

    def copy(self, selected: bool = True) -> None:
        """Copy rows with a header, separated by tabs: the selected ones, or all."""
        from cellcam.stacks.writing import spreadsheet_safe

        session = self._session()
        rows = self._table.rows_on_screen(selected)
        if session is None or not rows:
            self.message.emit("Select rows first: click them, with Shift or Ctrl for several.")
            return
        chosen = spreadsheet_safe(session.table.iloc[rows])
        text = chosen.to_csv(sep="\t", index=False, lineterminator="\n")
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        self.message.emit(f"Copied: {len(rows)} of {len(session.table)} rows.")

    def ask_file(self) -> None:
        """Ask where to save the table."""
        session = self._session()
        if session is None:
            return
        suggested = f"{session.stack.name}.cells.csv"
        kinds = "CSV (*.csv);;QuPath GeoJSON (*.geojson);;ROIs of ImageJ (*.zip);;COCO (*.json)"
        chosen, _ = QFileDialog.getSaveFileName(self, "Save table", suggested, kinds)
        if chosen:
            self.save(Path(chosen if Path(chosen).suffix else f"{chosen}.csv"))

    def _offer(self, point: QPoint) -> None:
        if self._session() is None:
            return
        menu = QMenu(self._table)
        menu.addAction("Copy selected rows (Ctrl+C)", self.copy)
        menu.addAction("Copy all rows", lambda: self.copy(selected=False))
        menu.addAction("Save table...", self.ask_file)
        menu.exec(self._table.viewport().mapToGlobal(point))

    def _follow(self) -> None:
        """Show the button while there is a table."""
        self.setVisible(self._table.model().rowCount() > 0)
