"""The dock widget: choose images and a model, classify and explain the cells, click a cell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QScrollArea,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cellcam.errors import CellCamError, InputError
from napari_cellcam.explain_dock.card import CellCardView
from napari_cellcam.explain_dock.cells_table import CellsTable
from napari_cellcam.explain_dock.choice_panel import ChoicePanel, disconnect_layer_list
from napari_cellcam.explain_dock.preview import FindingPreview
from napari_cellcam.explain_dock.train_panel import TrainPanel
from napari_cellcam.layers.layer_revisions import LayerRevisions
from napari_cellcam.layers.result_layers import ResultLayers
from napari_cellcam.state.cell_card import CellCard, brief_card, explained_card
from napari_cellcam.state.evidence import EvidenceMaps, explain_session
from napari_cellcam.state.session import Session, classify
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.model_choice import preferred_model
from napari_cellcam.widgets.status_line import StatusLine
from napari_cellcam.widgets.task_list import TaskList
from napari_cellcam.work.tasks import StepTimer

if TYPE_CHECKING:
    import napari
    from qtpy.QtGui import QCloseEvent, QKeyEvent

    from napari_cellcam.layers.layer_choices import LayerChoices


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
        self.revisions = LayerRevisions(lambda: None)
        self.layer_timer = StepTimer(self)  # adds evidence layers one by one
        self._build()
        # napari keeps the Python object after Qt has deleted the widget with its window.
        refresh = self.choices.refresh_layers
        self.destroyed.connect(partial(disconnect_layer_list, napari_viewer, refresh))
        self.choices.choose_model(preferred_model())

    @property
    def busy(self) -> bool:
        """Whether a task runs, or its result is not shown yet."""
        return self.tasks.running or self.layer_timer.isActive()

    def release(self) -> None:
        """Disconnect from the viewer and cancel all work."""
        self.choices.release()
        self.preview.release()
        self.revisions.release()
        self.tasks.cancel()
        self.layer_timer.stop()
        self.training.cancel()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802, D102 - Qt's name
        self.release()
        super().closeEvent(event)

    def _build(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setMinimumWidth(400)
        self.status = StatusLine()
        self.tasks = TaskList(self.status)
        self.tasks.long_running.connect(self._set_running)
        self._build_choices(column)
        column.addLayout(self._buttons())
        column.addWidget(self.status)
        self.table = CellsTable()
        self.table.chosen.connect(self.go_to_cell)
        self.table.selected.connect(self._select_for_training)
        column.addWidget(self.table)
        self.card = CellCardView()
        self.training = TrainPanel()
        self.training.classes_assigned.connect(self._show_true_classes)
        self.training.cell_requested.connect(self.go_to_cell)
        self.training.trained.connect(self._use_trained_model)
        self.training.message.connect(self.status.setText)
        self.training.failed.connect(self.status.show_error)
        tabs = QTabWidget()
        tabs.addTab(self.card, "The cell")
        tabs.addTab(self.training, "Correct and train")
        column.addWidget(tabs)
        column.addStretch()

    def _build_choices(self, column: QVBoxLayout) -> None:
        """Choices under a heading that hides and shows them."""
        self.choices = ChoicePanel(self.viewer)
        self.choices.failed.connect(self.status.show_error)
        self.preview = FindingPreview(self.viewer, self.choices)
        self.preview.message.connect(self.status.setText)
        self.choices_toggle = QToolButton()
        self.choices_toggle.setText("What to classify")
        self.choices_toggle.setCheckable(True)
        self.choices_toggle.setAutoRaise(True)
        self.choices_toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.choices_toggle.toggled.connect(self._toggle_choices)
        self.choices_toggle.setChecked(True)
        column.addWidget(self.choices_toggle)
        column.addWidget(self.choices)

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.classify_button = button("Classify", self.classify, row)
        self.explain_button = button("Explain", self.explain, row)
        self.cancel_button = button("Cancel", self.tasks.cancel, row)
        self.copy_button = button("Copy as command", self.copy_command, row)
        self._set_running(False)
        return row

    def classify(self) -> None:
        """Find and classify all cells of the chosen layers."""
        try:
            choices = self.choices.choices()
            origin = choices.origin(self.revisions.state)
            stack, labels = choices.stack(), choices.label_stack()
        except CellCamError as error:
            self.status.show_error(error)
            return
        self.choices.preview.setChecked(False)
        self.tasks.start(
            "Classifying cells",
            lambda session: self._show_session(session, choices),
            classify,
            origin,
            stack,
            labels,
            choices.model_folder,
            choices.device,
        )

    def explain(self) -> None:
        """Show importance maps of all cells for the chosen classes."""
        if self.session is None:
            self.status.setText("Classify the cells first.")
            return
        session = self.session
        self.tasks.start(
            "Explaining cells",
            lambda evidence: self._show_evidence(session, evidence),
            explain_session,
            session,
            self.choices.chosen_classes(),
        )

    def go_to_cell(self, row: int, extend: bool = False) -> None:
        """Show the card of one cell, and the cell in the viewer.

        Parameters
        ----------
        row : of the session's table
        extend : whether to toggle the cell in the selection, instead of selecting it alone
        """
        session = self.session
        if session is None or not 0 <= row < len(session.table):
            return
        self.table.select_cell(row, extend)
        if self.results:
            self.results.show_cell(session.table.iloc[row], row)
        self._show_card(brief_card(session, row))
        self.tasks.cancel_short()  # the card of another cell, which is no longer shown
        self.tasks.start(
            "Explaining a cell", self._show_card, explained_card, session, row, short=True
        )

    def copy_command(self) -> str:
        """Copy the command that does the same without a window; return it."""
        try:
            command = self.choices.choices().command()
        except InputError as error:
            self.status.show_error(error)
            return ""
        self.status.copy_to_clipboard(command)
        return command

    def _show_session(self, session: Session, choices: LayerChoices) -> None:
        self.session = session
        if self.results is not None:
            self.results.remove()
        self.results = ResultLayers(self.viewer, session, choices.first, choices.axes)
        self.results.clicked = self.go_to_cell
        self.table.show_cells(session.table)
        self.training.show_session(session)
        counts = session.table["class"].value_counts()
        if not len(session.table):
            self.status.setText(
                "No cells were found. Give their diameter, or choose a labels layer."
            )
            return
        listed = ", ".join(f"{n} {name}" for name, n in counts.items())
        self.choices_toggle.setChecked(False)
        self.status.setText(
            f"{len(session.table)} cells: {listed}. Click a cell, or sort by margin."
        )

    def _toggle_choices(self, is_open: bool) -> None:
        """Show the choices, or hide them to make room for the cells."""
        self.choices.setVisible(is_open)
        arrows = Qt.ArrowType
        self.choices_toggle.setArrowType(arrows.DownArrow if is_open else arrows.RightArrow)

    def _select_for_training(self, rows: list[int]) -> None:
        self.training.selected = rows

    def _show_true_classes(self, true_classes: dict[int, str]) -> None:
        """Show the classes that the user assigned, in the table and as the cells' colours."""
        if self.session is None or self.results is None:
            return
        table = self.session.table
        assigned = [true_classes.get(row, "") for row in range(len(table))]
        table["true class"] = assigned
        self.table.show_true_classes(assigned)
        self.results.recolour(
            [true or predicted for true, predicted in zip(assigned, table["class"], strict=True)]
        )

    def _use_trained_model(self, folder: str) -> None:
        """Classify the cells again, with the new model."""
        self.choices.choose_model(folder)
        self.classify()

    def _show_evidence(self, session: Session, evidence: EvidenceMaps) -> None:
        if session is not self.session or self.results is None:
            return  # other cells have been classified in the meantime
        self.layer_timer.begin(self._evidence_steps(session, self.results, evidence))

    def _evidence_steps(
        self, session: Session, results: ResultLayers, evidence: EvidenceMaps
    ) -> Iterator[None]:
        """Show the evidence step by step; stop if other cells are classified in between."""
        for _ in results.show_evidence(evidence):
            yield
            if session is not self.session:
                return
        yield
        session.table = evidence.table
        self.table.show_cells(session.table)
        yield
        self._show_true_classes(self.training.true_classes)
        self.status.setText(
            "Brighter means more evidence for the class; all classes are on one scale."
        )

    def _show_card(self, card: CellCard) -> None:
        if self.results is not None:
            self.card.show_card(card, self.results.colours)

    def _set_running(self, running: bool) -> None:
        self.cancel_button.setEnabled(running)
        self.classify_button.setEnabled(not running)
        self.explain_button.setEnabled(not running)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802, D102 - Qt's name
        steps = {Qt.Key.Key_N: 1, Qt.Key.Key_P: -1}
        if event.key() in steps:
            self.table.step(steps[event.key()])
        elif Qt.Key.Key_1 <= event.key() <= Qt.Key.Key_9:
            self.training.assign_number(event.key() - Qt.Key.Key_1)
        else:
            super().keyPressEvent(event)
