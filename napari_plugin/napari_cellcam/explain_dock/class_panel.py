"""Classes as buttons: give the selected cells their true class, undo it, find the next cell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from cellcam.reporting.colours import class_colours
from napari_cellcam.explain_dock.selected_cell import SelectedCell
from napari_cellcam.state.training_cells import suggest_cells
from napari_cellcam.widgets.buttons import NameButton, button

if TYPE_CHECKING:
    from napari_cellcam.state.cell_card import CellCard
    from napari_cellcam.state.corrections import Corrections
    from napari_cellcam.state.session import Session

_PER_ROW = 2


class ClassPanel(QWidget):
    """A button for each class, with its key, its colour and its number of corrected cells.

    Attributes
    ----------
    corrections : of the project that is open
    selected : rows that are selected in the table of cells

    Signals
    -------
    changed : the true classes of the session's cells by row, after a change
    cell_requested : row of a cell to show
    message : text for the user
    """

    changed = Signal(dict)
    cell_requested = Signal(int)
    message = Signal(str)

    def __init__(self, corrections: Corrections) -> None:
        super().__init__()
        self.session: Session | None = None
        self.selected: list[int] = []
        self._class_buttons: dict[str, NameButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.cell = SelectedCell()
        column.addWidget(self.cell)
        hint = QLabel("True class (keys 1 to 9):")
        column.addWidget(hint)
        self._grid = QGridLayout()
        column.addLayout(self._grid)
        self.new_button = NameButton(self.ask_new_class)
        self.new_button.show_text("", "New class...", "")
        self.new_button.setToolTip("Add a class. Right click on a class to rename or delete it.")
        row = QHBoxLayout()
        self.undo_button = button("Undo", lambda: self.corrections.undo(), row)
        self.redo_button = button("Redo", lambda: self.corrections.redo(), row)
        clear = button("Clear", self.clear_selected, row)
        suggest = button("Suggest", self.suggest, row)
        self.undo_button.setToolTip("Take the last change back (Ctrl+Z).")
        self.redo_button.setToolTip("Make it again (Ctrl+Shift+Z).")
        clear.setToolTip("Take the true class of the selected cells away (Backspace).")
        suggest.setToolTip("Go to the cell whose true class would teach the network most.")
        for small in (self.undo_button, self.redo_button, clear, suggest):
            small.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column.addLayout(row)
        self.use(corrections)

    @property
    def true_classes(self) -> dict[int, str]:
        """Class that the user gave, by row of the session's table."""
        return self.corrections.rows(self.session) if self.session is not None else {}

    @property
    def names(self) -> tuple[str, ...]:
        """Classes that the cells of the session can be given."""
        if self.session is None:
            return self.corrections.classes
        return self.corrections.classes_for(self.session.spec)

    def use(self, corrections: Corrections) -> None:
        """Work on these corrections."""
        self.corrections = corrections
        corrections.on_change = self.refresh
        self.refresh()

    def show_session(self, session: Session | None) -> None:
        """Work on the cells of a session; corrections of its image are found again."""
        self.session = session
        self.selected = []
        self.show_cell(None)
        if session is not None:
            self.corrections.offer_classes(session.spec.classes)
        self.refresh()

    def show_cell(self, card: CellCard | None) -> None:
        """Show the selected cell beside the buttons; None shows none."""
        self.cell.show_card(card, "" if card is None else self.true_classes.get(card.row, ""))

    def assign(self, name: str, rows: list[int] | None = None) -> None:
        """Give the cells in ``rows`` a class; None: the selected cells."""
        rows = self.selected if rows is None else rows
        if self.session is None or not rows:
            self.message.emit("Select a cell first: click it.")
            return
        usable = [row for row in rows if self.session.can_be_called[row]]
        if len(usable) < len(rows):
            why = next(filter(None, map(self.session.why_no_call, rows)))
            self.message.emit(f"A cell cannot be given a class: {why}")
        if usable:
            self.corrections.assign(self.session, usable, name)

    def assign_number(self, number: int) -> None:
        """Give the selected cells class ``number``, counted from 0, if there is such a class."""
        if number < len(self.names):
            self.assign(self.names[number])

    def clear_selected(self) -> None:
        """Take the true class of the selected cells away."""
        if self.session is not None and self.selected:
            self.corrections.clear(self.session, self.selected)

    def suggest(self) -> None:
        """Show the cell whose true class would teach the network most."""
        rows = suggest_cells(self.session, self.true_classes) if self.session else []
        if rows:
            self.cell_requested.emit(rows[0])
        else:
            self.message.emit("There is no cell left to look at.")

    def ask_new_class(self) -> None:
        """Ask for the name of a new class."""
        name, accepted = QInputDialog.getText(self, "New class", "Its name")
        if accepted:
            self.corrections.add_class(name.strip())

    def refresh(self) -> None:
        """Show the classes as they are now."""
        names, counts = self.names, self.corrections.counts()
        for name in set(self._class_buttons) - set(names):
            self._class_buttons.pop(name).deleteLater()
        colours = class_colours(self.corrections.classes)
        for i, name in enumerate(names):
            shown = self._button_of(name)
            key = f"{i + 1} " if i < 9 else ""
            shown.setIcon(_square(colours[name]))
            shown.show_text(key, name, f" ({counts[name]})")
            self._grid.addWidget(shown, i // _PER_ROW, i % _PER_ROW)
        self._grid.addWidget(self.new_button, len(names) // _PER_ROW, len(names) % _PER_ROW)
        self.undo_button.setEnabled(self.corrections.can_undo)
        self.redo_button.setEnabled(self.corrections.can_redo)
        true_classes = self.true_classes
        if self.cell.row is not None:
            self.cell.show_true_class(true_classes.get(self.cell.row, ""))
        if self.corrections.unwritten:
            self.message.emit(f"Corrections are not saved: {self.corrections.unwritten}")
        self.changed.emit(true_classes)

    def _button_of(self, name: str) -> NameButton:
        if name not in self._class_buttons:
            added = NameButton(lambda: self.assign(name))
            added.setToolTip(f"The selected cells are {name}. Right click: rename or delete.")
            added.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
            added.customContextMenuRequested.connect(partial(self._offer_changes, name))
            self._class_buttons[name] = added
        return self._class_buttons[name]

    def _offer_changes(self, name: str, point: QPoint) -> None:
        menu = QMenu(self)
        menu.addAction(f"Rename {name}...", partial(self._rename, name))
        menu.addAction(f"Delete {name}...", partial(self._delete, name))
        menu.exec(self._class_buttons[name].mapToGlobal(point))

    def _rename(self, name: str) -> None:
        new, accepted = QInputDialog.getText(self, f"Rename {name}", "Its new name", text=name)
        if accepted and new.strip():
            self.corrections.rename_class(name, new.strip())

    def _delete(self, name: str) -> None:
        n = self.corrections.counts()[name]
        question = f"Delete the class {name} and the true class of its {n} cells?"
        if not n or QMessageBox.question(self, "Delete a class", question) == _YES:
            self.corrections.remove_class(name)


_YES = QMessageBox.StandardButton.Yes


def _square(colour: str) -> QIcon:
    picture = QPixmap(12, 12)
    picture.fill(QColor(colour))
    return QIcon(picture)
