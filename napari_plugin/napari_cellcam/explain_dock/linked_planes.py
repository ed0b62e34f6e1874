"""The planes on which the selected cell is seen, and how to select it on all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_cellcam.widgets.buttons import button

if TYPE_CHECKING:
    from napari_cellcam.state.session import Session


class LinkedPlanes(QWidget):
    """A line about the selected cell; hidden unless each plane of a stack is a field.

    A correction is about one plane, until the cell is selected on all of them.

    Signals
    -------
    rows_requested : rows of the session's table that show the cell, the present plane first
    """

    rows_requested = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[int] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.text = QLabel()
        row.addWidget(self.text, 1)
        self.select = button("Select all its planes", self._request, row)
        self.select.setToolTip(
            "Select this cell on every plane: the class that you then give it holds for all of "
            "them. Otherwise it holds for this plane."
        )
        self.setVisible(False)

    def show_cell(self, session: Session | None, row: int = 0) -> None:
        """Say on which planes the cell in this row of the table is seen; None hides the line."""
        is_by_plane = session is not None and session.is_by_plane and len(session.table) > 0
        self.setVisible(is_by_plane)
        if session is None or not is_by_plane:
            self._rows = []
            return
        others = session.other_planes(row)
        self._rows = [row, *others]
        planes = sorted(int(session.table["z"].iloc[other]) for other in self._rows)
        seen = f"planes {planes[0]} to {planes[-1]}" if others else f"plane {planes[0]} only"
        self.text.setText(f"3-D cell {session.cells_3d[row]}: {seen}")
        self.select.setEnabled(bool(others))

    def _request(self) -> None:
        self.rows_requested.emit(self._rows)
