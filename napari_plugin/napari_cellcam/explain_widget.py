"""The dock widget: choose images and a model, call every cell, see the evidence, click a cell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cellcam.errors import CellCamError, InputError
from napari_cellcam.buttons import button
from napari_cellcam.card import CellCardView
from napari_cellcam.cells_table import CellsTable
from napari_cellcam.choice_panel import ChoicePanel, forget
from napari_cellcam.model_choice import preferred_model
from napari_cellcam.preview import FindingPreview
from napari_cellcam.results import ResultLayers
from napari_cellcam.session import CellCard, EvidenceMaps, Session, classify
from napari_cellcam.train_panel import TrainPanel
from napari_cellcam.work import Task, Turns, told

if TYPE_CHECKING:
    import napari

    from napari_cellcam.layer_choices import LayerChoices


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
        self.tasks: list[Task] = []  # in the order in which they are worked off
        self.turns = Turns(self)
        self._build()
        # napari keeps Python's half of a widget that Qt has deleted with its window.
        self.destroyed.connect(partial(forget, napari_viewer, self.choices.refresh_layers))
        self.choices.choose_model(preferred_model())

    @property
    def busy(self) -> bool:
        """Whether work is under way, or its result not shown yet."""
        return bool(self.tasks) or self.turns.isActive()

    def let_go(self) -> None:
        """Let go of the viewer and of work in progress."""
        self.choices.let_go()
        self.preview.let_go()
        self._cancel()
        self.turns.stop()
        self.training.cancel()

    def closeEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        self.let_go()
        super().closeEvent(event)

    def _build(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setMinimumWidth(400)
        self.choices = ChoicePanel(self.viewer)
        self.choices.failed.connect(self._complain)
        self.preview = FindingPreview(self.viewer, self.choices)
        self.preview.said.connect(self._say)
        self.fold = QToolButton()
        self.fold.setText("What to classify")
        self.fold.setCheckable(True)
        self.fold.setAutoRaise(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.toggled.connect(self._fold)
        self.fold.setChecked(True)
        column.addWidget(self.fold)
        column.addWidget(self.choices)
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

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.classify_button = button("Classify", self.classify, row)
        self.explain_button = button("Explain", self.explain, row)
        self.cancel_button = button("Cancel", self._cancel, row)
        self.copy_button = button("Copy as command", self.copy_command, row)
        self._working(False)
        return row

    def classify(self) -> None:
        """Find and call all cells of the chosen layers."""
        try:
            choices = self.choices.choices()
            stack, labels = choices.stack(), choices.label_stack()
        except CellCamError as error:
            self._complain(error)
            return
        self.choices.preview.setChecked(False)
        self._start(
            "Classifying cells",
            classify,
            stack,
            choices.model_folder,
            labels,
            choices.request,
            choices.device,
            then=lambda session: self._called(session, choices),
        )

    def explain(self) -> None:
        """Show where the evidence for the chosen classes lies, for all cells."""
        if self.session is None:
            self._say("Classify the cells first.")
            return
        session = self.session
        self._start(
            "Explaining cells",
            session.explain,
            self.choices.chosen_classes(),
            then=lambda evidence: self._explained(session, evidence),
        )

    def go_to_cell(self, row: int, more: bool = False) -> None:
        """Show the card of one cell, and the cell in the viewer.

        Parameters
        ----------
        row : of the session's table
        more : whether the cell joins those that are selected, or leaves them
        """
        session = self.session
        if session is None or not 0 <= row < len(session.table):
            return
        self.table.go_to(row, more)
        if self.results:
            self.results.go_to(session.table.iloc[row], row)
        self._show_card(session.glance(row))
        for task in [*self.tasks]:
            if task.soon:  # nobody looks at the card before any more
                task.cancel()
        self._start(
            "Explaining a cell",
            partial(session.card, row),
            then=self._show_card,
            soon=True,
        )

    def copy_command(self) -> str:
        """The command that does the same without a window; it is put on the clipboard."""
        try:
            command = self.choices.choices().command()
        except InputError as error:
            self._complain(error)
            return ""
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(command)
        self._say(f"Copied: {command}")
        return command

    def _start(self, title: str, work: Any, *arguments: Any, then: Any, soon: bool = False) -> None:
        """Begin work; a method of ours, so that nothing comes back to a closed window."""
        task = Task(title, then, soon)
        task.finished.connect(self._task_finished)
        task.failed.connect(self._task_failed)
        task.cancelled.connect(self._task_cancelled)
        task.progressed.connect(self._task_progressed)
        self.tasks.append(task)
        if not soon:
            self._working(True)
            self._say(f"{title}...")
        task.start(work, *arguments)

    def _task_finished(self, task: Task, result: Any) -> None:
        self._ended(task)
        task.then(result)

    def _task_failed(self, task: Task, error: Exception) -> None:
        self._ended(task)
        self._complain(error)

    def _task_cancelled(self, task: Task) -> None:
        self._ended(task)
        if not task.soon:
            self._say("Cancelled.")

    def _ended(self, task: Task) -> None:
        self.tasks.remove(task)
        self._working(not all(task.soon for task in self.tasks))

    def _task_progressed(self, done: int, total: int) -> None:
        long = next((task for task in self.tasks if not task.soon), None)
        if long is not None and total:
            self._say(f"{long.title}: {done} of {total}")

    def _called(self, session: Session, choices: LayerChoices) -> None:
        self.session = session
        if self.results is not None:
            self.results.remove()
        self.results = ResultLayers(self.viewer, session, choices.first, choices.axes)
        self.results.clicked = self.go_to_cell
        self.table.show_cells(session.table)
        self.training.show_session(session)
        counts = session.table["class"].value_counts()
        if not len(session.table):
            self._say("No cells were found. Give their diameter, or choose a labels layer.")
            return
        listed = ", ".join(f"{n} {name}" for name, n in counts.items())
        self.fold.setChecked(False)
        self._say(f"{len(session.table)} cells: {listed}. Click one, or sort by margin.")

    def _fold(self, is_open: bool) -> None:
        """Show the choices, or make room for the cells."""
        self.choices.setVisible(is_open)
        arrows = Qt.ArrowType
        self.fold.setArrowType(arrows.DownArrow if is_open else arrows.RightArrow)

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
        self.choices.choose_model(folder)
        self.classify()

    def _explained(self, session: Session, evidence: EvidenceMaps) -> None:
        if session is not self.session or self.results is None:
            return  # other cells were classified meanwhile
        self.turns.begin(self._evidence_shown(session, self.results, evidence))

    def _evidence_shown(
        self, session: Session, results: ResultLayers, evidence: EvidenceMaps
    ) -> Iterator[None]:
        """Show the evidence, unless other cells are classified meanwhile."""
        for _ in results.show_evidence(evidence):
            yield
            if session is not self.session:
                return
        yield
        session.table = evidence.table
        self.table.show_cells(session.table)
        yield
        self._classes_given(self.training.given)
        self._say("The brighter, the more it speaks for the class; all classes on one scale.")

    def _show_card(self, card: CellCard) -> None:
        if self.results is not None:
            self.card.show_card(card, self.results.colours)

    def _cancel(self) -> None:
        for task in [*self.tasks]:
            task.cancel()

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
