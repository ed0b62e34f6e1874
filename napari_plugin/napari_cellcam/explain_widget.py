"""The dock widget: choose images and a model, call every cell, see the evidence, click a cell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from cellcam import samples
from cellcam.errors import CellCamError
from napari_cellcam.card import CellCardView
from napari_cellcam.cells_table import CellsTable
from napari_cellcam.results import ResultLayers, is_result
from napari_cellcam.session import CellCard, Session, classify
from napari_cellcam.sources import layer_axes, stack_of
from napari_cellcam.train_panel import TrainPanel
from napari_cellcam.work import Job, told

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels

    from cellcam.models.model import ModelSpec

_FIND, _CALL, _ALL = "find them", "each cell's own call", "all classes"
_SEEN = "as the model was trained"


class ExplainWidget(QScrollArea):
    """Classify and explain the cells of open image layers.

    Parameters
    ----------
    napari_viewer : the viewer it belongs to
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session: Session | None = None
        self.results: ResultLayers | None = None
        self.spec: ModelSpec | None = None
        self.jobs: list[Job] = []  # in the order in which they are worked off
        self._sources: dict[str, QComboBox] = {}
        self._build()
        self.viewer.layers.events.inserted.connect(self._refresh_layers)
        self.viewer.layers.events.removed.connect(self._refresh_layers)
        # napari keeps Python's half of a widget that Qt has deleted with its window.
        self.destroyed.connect(partial(_forget, napari_viewer, self._refresh_layers))
        self.choose_model(str(samples.sample_path(samples.DEMO_MODEL)))

    def let_go(self) -> None:
        """Let go of the viewer and of work in progress."""
        _forget(self.viewer, self._refresh_layers)
        self._cancel()
        self.training.cancel()

    def closeEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        self.let_go()
        super().closeEvent(event)

    # What is shown

    def _build(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setMinimumWidth(400)
        column.addLayout(self._model_rows())
        self.channels = QFormLayout()
        column.addLayout(self.channels)
        column.addLayout(self._cell_rows())
        column.addLayout(self._buttons())
        self.status = QLabel("")
        self.status.setWordWrap(True)
        column.addWidget(self.status)
        self.table = CellsTable()
        self.table.chosen.connect(self.go_to_cell)
        self.table.selected.connect(self._selected)
        column.addWidget(self.table)
        self.card = CellCardView()
        self.training = TrainPanel()
        self.training.classes_given.connect(self._classes_given)
        self.training.asked_for.connect(self.go_to_cell)
        self.training.trained.connect(self._trained)
        self.training.said.connect(self._say)
        self.training.failed.connect(self._complain)
        tabs = QTabWidget()
        tabs.addTab(self.card, "The cell")
        tabs.addTab(self.training, "Correct and train")
        column.addWidget(tabs)
        column.addStretch()

    def _model_rows(self) -> QFormLayout:
        form = QFormLayout()
        row = QHBoxLayout()
        self.model_name = QLineEdit()
        self.model_name.setReadOnly(True)
        open_folder = QPushButton("Open...")
        open_folder.clicked.connect(self._ask_for_model)
        row.addWidget(self.model_name)
        row.addWidget(open_folder)
        self.about_model = QLabel()
        self.about_model.setWordWrap(True)
        self.device = QComboBox()
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        form.addRow("Model", row)
        form.addRow(self.about_model)
        form.addRow("Device", self.device)
        return form

    def _cell_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.axes = QLineEdit()
        self.axes.setToolTip("What the axes of the images mean: T time, Z depth, then YX.")
        self.planes = QComboBox()
        self.planes.addItems([_SEEN, "max", "mean"])
        self.cells = QComboBox()
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(0, 1000)
        self.diameter.setSpecialValueText("as the model says")
        self.diameter.setSuffix(" um")
        self.classes = QComboBox()
        form.addRow("Axes", self.axes)
        form.addRow("Planes", self.planes)
        form.addRow("Cells", self.cells)
        form.addRow("Diameter", self.diameter)
        form.addRow("Explain", self.classes)
        return form

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.classify_button = _button("Classify", self.classify, row)
        self.explain_button = _button("Explain", self.explain, row)
        self.cancel_button = _button("Cancel", self._cancel, row)
        self.copy_button = _button("Copy as command", self.copy_command, row)
        self._working(False)
        return row

    # Choices

    def _ask_for_model(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder")
        if folder:
            self.choose_model(folder)

    def choose_model(self, folder: str) -> None:
        """Use the model in a folder; it is not loaded before it is needed."""
        from cellcam.models.bundle import read_spec

        try:
            spec = read_spec(Path(folder))
        except CellCamError as error:
            self._complain(error)
            return
        self.spec, self.model_folder = spec, folder
        self.model_name.setText(Path(folder).name)
        pixel = f", {spec.pixel_size_um[-1]:g} um a pixel" if spec.pixel_size_um else ""
        self.about_model.setText(
            f"{spec.network}: {', '.join(spec.classes)}. Crops of "
            f"{' x '.join(map(str, spec.crop_size))} pixels{pixel}."
        )
        while self.channels.rowCount():
            self.channels.removeRow(0)
        self._sources = {name: QComboBox() for name in spec.channels}
        for name, choice in self._sources.items():
            self.channels.addRow(name, choice)
        self.classes.clear()
        self.classes.addItems([_CALL, _ALL, *spec.classes])
        self._refresh_layers()

    def _refresh_layers(self, _: Any = None) -> None:
        """Offer the layers there are; what was chosen stays chosen, names decide at first."""
        others = [layer for layer in self.viewer.layers if not is_result(layer)]
        images = [layer for layer in others if _kind(layer) == "image"]
        first_before = self._first_image()
        for name, choice in self._sources.items():
            before = choice.currentData()
            choice.clear()
            for layer in images:
                choice.addItem(layer.name, layer)
            wanted = before if before in images else _best_match(name, images, len(self._sources))
            choice.setCurrentIndex(images.index(wanted) if wanted in images else -1)
        before = self.cells.currentData()
        self.cells.clear()
        self.cells.addItem(_FIND, None)
        for layer in others:
            if _kind(layer) == "labels":
                self.cells.addItem(layer.name, layer)
        self.cells.setCurrentIndex(max(0, self.cells.findData(before)))
        first = self._first_image()
        if first is not first_before:  # what the user wrote about an image stays
            self.axes.setText(layer_axes(first) if first is not None else "")

    def _first_image(self) -> Image | None:
        return next((c.currentData() for c in self._sources.values() if c.currentData()), None)

    def _chosen_layers(self) -> dict[str, Image]:
        """Image layer of each of the model's channels."""
        chosen = {name: choice.currentData() for name, choice in self._sources.items()}
        missing = [name for name, layer in chosen.items() if layer is None]
        if missing:
            from cellcam.errors import InputError

            raise InputError(
                f"No image layer was chosen for {', '.join(missing)}. Open the image, or choose "
                "its layer beside the channel's name."
            )
        return chosen

    # Work

    def classify(self) -> None:
        """Find and call all cells of the chosen layers."""
        try:
            layers, axes = self._chosen_layers(), self.axes.text().upper()
            stack = stack_of(layers, axes)
            labels = self._labels_stack(axes)
        except CellCamError as error:
            self._complain(error)
            return
        assert self.spec is not None
        options: dict[str, Any] = {"diameter_um": self.diameter.value() or None}
        if labels is None:
            options["find_channel"] = self._find_channel(layers)
        z = None if self.planes.currentText() == _SEEN else self.planes.currentText()
        place = (next(iter(layers.values())), axes)
        arguments = (stack, self.model_folder, labels, z, options, self.device.currentText())
        self._start(
            "Classifying cells", classify, *arguments, then=lambda s: self._called(s, place)
        )

    def explain(self) -> None:
        """Show where the evidence for the chosen classes lies, for all cells."""
        if self.session is None:
            self._say("Classify the cells first.")
            return
        chosen = self.classes.currentText()
        classes = {_CALL: "predicted", _ALL: "all"}.get(chosen, (chosen,))
        session = self.session
        self._start(
            "Explaining cells",
            session.explain,
            classes,
            then=lambda found: self._explained(session, *found),
        )

    def go_to_cell(self, row: int) -> None:
        """Show the card of one cell, and the cell in the viewer."""
        session = self.session
        if session is None or not 0 <= row < len(session.table):
            return
        self.table.go_to(row)
        if self.results:
            self.results.go_to(session.table.iloc[row], row)
        self._start(
            "Explaining a cell",
            lambda _: session.card(row),
            then=self._show_card,
        )

    def copy_command(self) -> str:
        """The command that does the same without a window; it is put on the clipboard."""
        layers = [layer for layer in (c.currentData() for c in self._sources.values()) if layer]
        known = [dict(layer.metadata.get("cellcam", {})) for layer in layers]
        path = known[0].get("path") if known else None
        words = [
            "cellcam",
            "explain",
            path or "IMAGE",
            "--model",
            self.model_folder,
            "--out",
            "results",
        ]
        for name, one in zip(self._sources, known, strict=False):
            if one.get("channel", name) != name:
                words += ["--map", f"{name}={one['channel']}"]
        labels = self.cells.currentData()
        if labels is not None:
            words += ["--labels", str(labels.source.path or "LABELS")]
        elif self._find_channel(self._sources):
            words += ["--find-channel", known[0].get("channel", "") if known else ""]
        if self.diameter.value():
            words += ["--diameter-um", f"{self.diameter.value():g}"]
        if self.planes.currentText() != _SEEN:
            words += ["--z", self.planes.currentText()]
        chosen = self.classes.currentText()
        if chosen != _CALL:
            words += ["--classes", "all" if chosen == _ALL else chosen]
        if self.device.currentText() != "auto":
            words += ["--device", self.device.currentText()]
        command = shlex.join(words)
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(command)
        self._say(f"Copied: {command}")
        return command

    def _find_channel(self, names: Iterable[str]) -> str | None:
        """Channel in which cells are found; None where the model says it."""
        names = list(names)
        said = self.spec is not None and self.spec.finding
        return None if said and said.channel in names else next(iter(names), None)

    def _labels_stack(self, axes: str) -> Any:
        layer: Labels | None = self.cells.currentData()
        if layer is None:
            return None
        kept = axes[-layer.ndim :]
        return _labels_as_stack(layer, kept)

    def _start(self, title: str, work: Any, *arguments: Any, then: Any) -> None:
        """Begin work; a method of ours, so that nothing comes back to a closed window."""
        job = Job(title, then)
        job.finished.connect(self._job_finished)
        job.failed.connect(self._job_failed)
        job.cancelled.connect(self._job_cancelled)
        job.progressed.connect(self._job_progressed)
        self.jobs.append(job)
        self._working(True)
        self._say(f"{title}...")
        job.start(work, *arguments)

    def _job_finished(self, job: Job, result: Any) -> None:
        self._ended(job)
        job.then(result)

    def _job_failed(self, job: Job, error: Exception) -> None:
        self._ended(job)
        self._complain(error)

    def _job_cancelled(self, job: Job) -> None:
        self._ended(job)
        self._say("Cancelled.")

    def _ended(self, job: Job) -> None:
        self.jobs.remove(job)
        self._working(bool(self.jobs))

    def _job_progressed(self, done: int, total: int) -> None:
        if self.jobs and total:
            self._say(f"{self.jobs[0].title}: {done} of {total}")

    def _called(self, session: Session, place: tuple[Image, str]) -> None:
        self.session = session
        if self.results is not None:
            self.results.remove()
        self.results = ResultLayers(self.viewer, session, *place)
        self.results.clicked = self.go_to_cell
        self.table.show_cells(session.table)
        self.training.show_session(session)
        counts = session.table["class"].value_counts()
        if not len(session.table):
            self._say("No cells were found. Give their diameter, or choose a labels layer.")
            return
        listed = ", ".join(f"{n} {name}" for name, n in counts.items())
        self._say(f"{len(session.table)} cells: {listed}. Click one, or sort by margin.")

    def _selected(self, rows: list[int]) -> None:
        self.training.selected = rows

    def _classes_given(self, given: dict[int, str]) -> None:
        """Show the classes that the user gave, in the table and as the cells' colours."""
        if self.session is None or self.results is None:
            return
        said = [given.get(row, "") for row in range(len(self.session.table))]
        self.session.table["said"] = said
        self.table.show_said(said)
        self.results.recolour(
            [own or call for own, call in zip(said, self.session.table["class"], strict=True)]
        )

    def _trained(self, folder: str) -> None:
        """Go on with the model that was just trained."""
        self.choose_model(folder)
        self.classify()

    def _explained(self, session: Session, maps: Any, table: Any) -> None:
        if session is not self.session or self.results is None:
            return  # other cells were classified meanwhile
        session.table = table
        self.results.show_maps(maps)
        self.table.show_cells(table)
        self._classes_given(self.training.given)
        self._say("The brighter, the more it speaks for the class; all classes on one scale.")

    def _show_card(self, card: CellCard) -> None:
        if self.results is not None:
            self.card.show_card(card, self.results.colours)
            self._say("")

    def _cancel(self) -> None:
        for job in self.jobs:
            job.cancel()

    def _working(self, now: bool) -> None:
        self.cancel_button.setEnabled(now)
        self.classify_button.setEnabled(not now)
        self.explain_button.setEnabled(not now)

    def _complain(self, error: Exception) -> None:
        from napari.utils.notifications import show_error

        self._say(told(error))
        show_error(told(error))

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        steps = {Qt.Key.Key_N: 1, Qt.Key.Key_P: -1}
        if event.key() in steps:
            self.table.step(steps[event.key()])
        elif Qt.Key.Key_1 <= event.key() <= Qt.Key.Key_9:
            self.training.give_number(event.key() - Qt.Key.Key_1)
        else:
            super().keyPressEvent(event)


def _forget(viewer: napari.viewer.Viewer, callback: Any, _: Any = None) -> None:
    viewer.layers.events.inserted.disconnect(callback)
    viewer.layers.events.removed.disconnect(callback)


def _button(text: str, action: Any, row: QHBoxLayout) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda: action())
    row.addWidget(button)
    return button


def _kind(layer: Any) -> str:
    return str(layer._type_string) if hasattr(layer, "_type_string") else ""


def _best_match(name: str, images: list[Any], wanted: int) -> Any:
    """Layer for a channel: of its name, or the only one where one is wanted; never by order."""
    for layer in images:
        known = layer.metadata.get("cellcam", {}).get("channel", layer.name)
        if name.lower() in (known.lower(), layer.name.lower()):
            return layer
    return images[0] if wanted == len(images) == 1 else None


def _labels_as_stack(layer: Labels, axes: str) -> Any:
    import dask.array as da
    import numpy as np

    from cellcam.stacks.stack import Stack, to_tczyx

    data = da.asarray(layer.data)
    if data.dtype.kind not in "ui":
        data = data.astype(np.int32)
    return Stack(to_tczyx(data, axes), ("cells",), name=layer.name)
