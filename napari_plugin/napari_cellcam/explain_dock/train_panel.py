"""Assign classes to cells, and train a classifier on them: part of the dock widget."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cellcam.errors import CellCamError
from napari_cellcam.state.annotations import (
    have_same_cells,
    load_annotations,
    save_annotations,
    suggest_cells,
)
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.charts import AccuracyCurve
from napari_cellcam.work.child_process import ChildProcess

if TYPE_CHECKING:
    from napari_cellcam.state.session import Session

_READ_EVERY_MS = 500
_BUTTONS_PER_ROW = 3


class TrainPanel(QWidget):
    """True classes from the user, suggestions which cells to look at, and training.

    Attributes
    ----------
    true_classes : class that the user assigned, by row of the session's table
    selected : rows that are selected in the table of cells
    process : the latest training, if there was a training

    Signals
    -------
    classes_assigned : ``true_classes``, after a change
    cell_requested : row of a cell to show
    trained : folder of the new model
    message : text for the user
    failed : an error
    """

    classes_assigned = Signal(dict)
    cell_requested = Signal(int)
    trained = Signal(str)
    message = Signal(str)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.session: Session | None = None
        self._last: Session | None = None
        self.true_classes: dict[int, str] = {}
        self.selected: list[int] = []
        self.classes: list[str] = []
        self.process: ChildProcess | None = None
        self._class_buttons: dict[str, QPushButton] = {}
        self._build()

    def show_session(self, session: Session) -> None:
        """Begin with the cells of a session; the same cells keep their true classes."""
        same = self._last is not None and have_same_cells(self._last, session)
        self.session = self._last = session
        if not same:
            self.true_classes = {}
        names = [*session.spec.classes, *self.true_classes.values()]
        self.classes = list(dict.fromkeys(names))
        self._show_classes()

    def clear(self) -> None:
        """Show no session; the true classes of the last one are kept."""
        self.session = None

    def assign(self, name: str, rows: list[int] | None = None) -> None:
        """Assign a class to the cells in ``rows``; None: to the selected cells."""
        for row in self.selected if rows is None else rows:
            self.true_classes[row] = name
        self._show_classes()

    def assign_number(self, number: int) -> None:
        """Assign class ``number``, counted from 0, to the selected cells, if there is such."""
        if number < len(self.classes):
            self.assign(self.classes[number])

    def suggest(self) -> None:
        """Show the cell whose true class would teach the network most."""
        rows = suggest_cells(self.session, self.true_classes) if self.session else []
        if rows:
            self.cell_requested.emit(rows[0])
        else:
            self.message.emit("There is no cell left to look at.")

    def save(self, path: str | None = None) -> None:
        """Write the true classes, with the crops of their cells, to a folder."""
        folder = path or QFileDialog.getExistingDirectory(self, "Folder for the cell table")
        if folder and self.session:
            try:
                table = save_annotations(Path(folder), self.session, self.true_classes)
            except (CellCamError, OSError) as error:
                self.failed.emit(error)
                return
            self.message.emit(f"Saved {table}: {len(self.true_classes)} cells.")

    def load(self, path: str | None = None) -> None:
        """Add true classes that were saved before."""
        name = path or QFileDialog.getOpenFileName(self, "Cell table", filter="*.csv")[0]
        if name and self.session:
            try:
                self.true_classes |= load_annotations(Path(name), self.session)
            except CellCamError as error:
                self.failed.emit(error)
                return
            self._show_classes()

    def train(self, folder: str | None = None) -> None:
        """Train a new model on the cells with classes, in a child process."""
        if self.session is None:
            return
        place = Path(folder or tempfile.mkdtemp(prefix="cellcam-"))
        try:
            table = save_annotations(
                place / "cells", self.session, self.true_classes, self.with_sure_calls.isChecked()
            )
        except (CellCamError, OSError) as error:
            self.failed.emit(error)
            return
        self.out = place / "model"
        words = ["train", str(table), "--out", str(self.out)]
        self.process = ChildProcess(*words, "--recipe", str(table.with_name("recipe.yaml")))
        self.process.ended.connect(self._process_ended)
        self.curve.show_values([])
        self._timer.start(_READ_EVERY_MS)
        self._set_running(True)
        self.message.emit("Training a new model...")

    def cancel(self) -> None:
        """End a training."""
        if self.process is not None and self.process.running:
            self.process.cancel()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        hint = QLabel("Select cells, then click their true class or press its number.")
        hint.setWordWrap(True)
        column.addWidget(hint)
        self.buttons = QGridLayout()
        column.addLayout(self.buttons)
        row = QHBoxLayout()
        button("New class...", self._new_class, row)
        button("Suggest a cell", self.suggest, row)
        button("Save...", self.save, row)
        button("Load...", self.load, row)
        column.addLayout(row)
        self.with_sure_calls = QCheckBox("Also learn from sure calls that were not changed")
        self.with_sure_calls.setChecked(True)
        column.addWidget(self.with_sure_calls)
        row = QHBoxLayout()
        self.train_button = button("Train", self.train, row)
        self.cancel_button = button("Cancel training", self.cancel, row)
        column.addLayout(row)
        self.curve = AccuracyCurve()
        column.addWidget(self.curve)
        column.addStretch()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._read_curve)
        self._set_running(False)

    def _show_classes(self) -> None:
        """A button for each class, with its number key and its number of cells."""
        for name in set(self._class_buttons) - set(self.classes):
            self._class_buttons.pop(name).deleteLater()
        counts = Counter(self.true_classes.values())
        for i, name in enumerate(self.classes):
            if name not in self._class_buttons:
                added = QPushButton()
                added.clicked.connect(lambda _=False, n=name: self.assign(n))
                self._class_buttons[name] = added
            key = f"{i + 1} " if i < 9 else ""
            self._class_buttons[name].setText(f"{key}{name} ({counts[name]})")
            self.buttons.addWidget(
                self._class_buttons[name], i // _BUTTONS_PER_ROW, i % _BUTTONS_PER_ROW
            )
        self.classes_assigned.emit(dict(self.true_classes))

    def _new_class(self, name: str | None = None) -> None:
        if name is None:
            name, accepted = QInputDialog.getText(self, "New class", "Its name")
            name = name.strip() if accepted else ""
        if name and name not in self.classes:
            self.classes.append(name)
            self._show_classes()

    def _read_curve(self) -> None:
        """Draw the validation accuracy that the training has written so far."""
        metrics = self.out.with_name("model.training") / "final" / "judged" / "metrics.csv"
        try:
            with open(metrics, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError:
            return  # not written yet, or moved into the finished model
        self.curve.show_values([float(row["balanced_accuracy"]) for row in rows])

    def _process_ended(self, status: int, output: str) -> None:
        self._timer.stop()
        self._set_running(False)
        if status == 0:
            lines = output.strip().splitlines()
            self.message.emit(lines[-2] if output.count("\n") > 1 else output)
            self.trained.emit(str(self.out))
        elif status == -1:
            self.message.emit("Training was cancelled.")
        else:
            self.failed.emit(RuntimeError(output.strip()[-600:]))

    def _set_running(self, running: bool) -> None:
        self.train_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
