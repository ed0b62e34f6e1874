"""Give classes to cells, and train a classifier on them: part of the dock widget."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPolygonF
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
from cellcam.reporting.colours import SKY_BLUE
from napari_cellcam.annotations import load_annotations, same_cells, save_annotations, suggested
from napari_cellcam.child import Command

if TYPE_CHECKING:
    from napari_cellcam.session import Session

_LOOK_EVERY_MS = 500
_PER_ROW = 3


class TrainPanel(QWidget):
    """Classes given by hand, suggestions what to look at next, and training.

    Signals
    -------
    classes_given : the classes changed: {row of the session's table: class}
    asked_for : row of a cell that should be shown
    trained : folder of the new model
    said : text for the user
    failed : an error
    """

    classes_given = Signal(dict)
    asked_for = Signal(int)
    trained = Signal(str)
    said = Signal(str)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.session: Session | None = None
        self.given: dict[int, str] = {}
        self.selected: list[int] = []
        self.classes: list[str] = []
        self.command: Command | None = None
        self._class_buttons: dict[str, QPushButton] = {}
        self._build()

    def show_session(self, session: Session) -> None:
        """Begin with the cells of a session; classes given to the same cells stay."""
        same = self.session is not None and same_cells(self.session, session)
        self.session = session
        if not same:
            self.given = {}
        self.classes = list(dict.fromkeys([*session.model.spec.classes, *self.given.values()]))
        self._show_classes()

    def give(self, name: str, rows: list[int] | None = None) -> None:
        """Give a class to some cells; to the selected ones where none are named."""
        for row in self.selected if rows is None else rows:
            self.given[row] = name
        self._show_classes()

    def give_number(self, number: int) -> None:
        """Give the selected cells the class with this number, counted from 0, if there is one."""
        if number < len(self.classes):
            self.give(self.classes[number])

    def suggest(self) -> None:
        """Show the cell whose class would teach the network most."""
        rows = suggested(self.session, self.given) if self.session else []
        if rows:
            self.asked_for.emit(rows[0])
        else:
            self.said.emit("There is no cell left to look at.")

    def save(self, path: str | None = None) -> None:
        """Write the classes, with the crops of their cells, to a folder."""
        folder = path or QFileDialog.getExistingDirectory(self, "Folder for the cell table")
        if folder and self.session:
            try:
                table = save_annotations(Path(folder), self.session, self.given)
            except (CellCamError, OSError) as error:
                self.failed.emit(error)
                return
            self.said.emit(f"Saved {table}: {len(self.given)} cells.")

    def load(self, path: str | None = None) -> None:
        """Take up classes that were saved before."""
        name = path or QFileDialog.getOpenFileName(self, "Cell table", filter="*.csv")[0]
        if name and self.session:
            try:
                self.given |= load_annotations(Path(name), self.session)
            except CellCamError as error:
                self.failed.emit(error)
                return
            self._show_classes()

    def train(self, folder: str | None = None) -> None:
        """Train a new model on the cells with classes, in a process of its own."""
        if self.session is None:
            return
        place = Path(folder or tempfile.mkdtemp(prefix="cellcam-"))
        try:
            table = save_annotations(
                place / "cells", self.session, self.given, self.with_calls.isChecked()
            )
        except (CellCamError, OSError) as error:
            self.failed.emit(error)
            return
        self.out = place / "model"
        words = ["train", str(table), "--out", str(self.out)]
        self.command = Command(*words, "--recipe", str(table.with_name("recipe.yaml")))
        self.command.ended.connect(self._ended)
        self.curve.show_history([])
        self._watch.start(_LOOK_EVERY_MS)
        self._working(True)
        self.said.emit("Training a new model...")

    def cancel(self) -> None:
        """End a training."""
        if self.command is not None and self.command.running:
            self.command.cancel()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        hint = QLabel("Select cells, then click their true class or press its number.")
        hint.setWordWrap(True)
        column.addWidget(hint)
        self.buttons = QGridLayout()
        column.addLayout(self.buttons)
        row = QHBoxLayout()
        for text, action in {
            "New class...": self._new_class,
            "Suggest a cell": self.suggest,
            "Save...": self.save,
            "Load...": self.load,
        }.items():
            button = QPushButton(text)
            button.clicked.connect(lambda _=False, act=action: act())
            row.addWidget(button)
        column.addLayout(row)
        self.with_calls = QCheckBox("Also learn from sure calls that were not changed")
        self.with_calls.setChecked(True)
        column.addWidget(self.with_calls)
        row = QHBoxLayout()
        self.train_button, self.cancel_button = QPushButton("Train"), QPushButton("Cancel training")
        self.train_button.clicked.connect(lambda: self.train())
        self.cancel_button.clicked.connect(self.cancel)
        row.addWidget(self.train_button)
        row.addWidget(self.cancel_button)
        column.addLayout(row)
        self.curve = Curve()
        column.addWidget(self.curve)
        column.addStretch()
        self._watch = QTimer(self)
        self._watch.timeout.connect(self._look)
        self._working(False)

    def _show_classes(self) -> None:
        """A button for each class, with its number key and how many cells have it."""
        for name in set(self._class_buttons) - set(self.classes):
            self._class_buttons.pop(name).deleteLater()
        counts = Counter(self.given.values())
        for i, name in enumerate(self.classes):
            if name not in self._class_buttons:
                button = QPushButton()
                button.clicked.connect(lambda _=False, n=name: self.give(n))
                self._class_buttons[name] = button
            key = f"{i + 1} " if i < 9 else ""
            self._class_buttons[name].setText(f"{key}{name} ({counts[name]})")
            self.buttons.addWidget(self._class_buttons[name], i // _PER_ROW, i % _PER_ROW)
        self.classes_given.emit(dict(self.given))

    def _new_class(self, name: str | None = None) -> None:
        if name is None:
            name, accepted = QInputDialog.getText(self, "New class", "Its name")
            name = name.strip() if accepted else ""
        if name and name not in self.classes:
            self.classes.append(name)
            self._show_classes()

    def _look(self) -> None:
        """Draw how the training goes, from the figures that it writes."""
        figures = self.out.with_name("model.training") / "final" / "judged" / "metrics.csv"
        try:
            with open(figures, newline="", encoding="utf-8") as file:
                self.curve.show_history(list(csv.DictReader(file)))
        except OSError:
            return  # not written yet, or moved into the finished model

    def _ended(self, status: int, output: str) -> None:
        self._watch.stop()
        self._working(False)
        if status == 0:
            self.said.emit(output.strip().splitlines()[-2] if output.count("\n") > 1 else output)
            self.trained.emit(str(self.out))
        elif status == -1:
            self.said.emit("Training was cancelled.")
        else:
            self.failed.emit(RuntimeError(output.strip()[-600:]))

    def _working(self, now: bool) -> None:
        self.train_button.setEnabled(not now)
        self.cancel_button.setEnabled(now)


class Curve(QWidget):
    """Balanced accuracy on validation cells, epoch by epoch, from 0 to 1."""

    _HEIGHT = 70

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []
        self.setFixedHeight(self._HEIGHT)
        self.hide()

    def show_history(self, rows: list[dict[str, Any]]) -> None:
        """Draw the epochs that were written so far."""
        self.values = [float(row["balanced_accuracy"]) for row in rows]
        self.setVisible(bool(self.values))
        self.update()

    def paintEvent(self, _: Any) -> None:  # noqa: N802, D102 - Qt's name
        if not self.values:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.palette().windowText().color())
        top, bottom = 18, self.height() - 4
        painter.drawText(
            QRectF(0, 0, self.width(), top),
            Qt.AlignmentFlag.AlignLeft,
            f"Validation, balanced accuracy: {self.values[-1]:.2f} (epoch {len(self.values)})",
        )
        painter.drawLine(QPointF(0, bottom), QPointF(self.width(), bottom))
        step = self.width() / max(1, len(self.values) - 1)
        points = [
            QPointF(i * step, bottom - value * (bottom - top))
            for i, value in enumerate(self.values)
        ]
        painter.setPen(QColor(SKY_BLUE))
        painter.drawPolyline(QPolygonF(points))
