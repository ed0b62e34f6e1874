"""The dock widget: choose images and a model, classify and explain the cells, click a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QScrollArea,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cellcam import samples
from cellcam.errors import CellCamError, InputError
from cellcam.reporting.colours import class_colours
from napari_cellcam.explain_dock.card import CellCardView
from napari_cellcam.explain_dock.card_tasks import CardTasks
from napari_cellcam.explain_dock.cell_clicks import CellClicks
from napari_cellcam.explain_dock.cells_table import CellsTable
from napari_cellcam.explain_dock.choice_panel import ChoicePanel
from napari_cellcam.explain_dock.class_panel import ClassPanel
from napari_cellcam.explain_dock.difference_tasks import DifferenceTasks
from napari_cellcam.explain_dock.evidence_panel import EvidencePanel
from napari_cellcam.explain_dock.explanation_panel import ExplanationPanel
from napari_cellcam.explain_dock.help_page import help_page
from napari_cellcam.explain_dock.help_window import HelpButton
from napari_cellcam.explain_dock.linked_planes import LinkedPlanes
from napari_cellcam.explain_dock.preview import FindingPreview
from napari_cellcam.explain_dock.project_button import ProjectButton
from napari_cellcam.explain_dock.shown_results import ShownResults
from napari_cellcam.explain_dock.table_export import TableExport
from napari_cellcam.explain_dock.train_panel import TrainPanel
from napari_cellcam.explain_dock.unsaved import CloseQuestion
from napari_cellcam.layers.layer_list import disconnect_layer_list
from napari_cellcam.layers.result_layers import ResultLayers
from napari_cellcam.layers.status_help import StatusHelp
from napari_cellcam.layers.viewer_state import view_kept
from napari_cellcam.state.evidence import explain_session
from napari_cellcam.state.session import Session, classify, find
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.docking import share_place
from napari_cellcam.widgets.keyboard import DockKeys, KeyAction
from napari_cellcam.widgets.labels import ElidedLabel
from napari_cellcam.widgets.model_choice import preferred_model
from napari_cellcam.widgets.notes_line import NotesLine
from napari_cellcam.widgets.status_line import StatusLine
from napari_cellcam.widgets.task_list import TaskList

if TYPE_CHECKING:
    import napari
    from qtpy.QtGui import QCloseEvent, QShowEvent

    from napari_cellcam.state.project import Project

_WIDTH = 290  # screen pixels
_MARGIN = 4  # screen pixels
_KEY_HELP = "1 to 9: true class, N P: next and previous cell, E: evidence, Ctrl+Z: undo"


class ExplainWidget(QScrollArea):
    """Classify and explain the cells of open image layers.

    Parameters
    ----------
    napari_viewer : the viewer it belongs to
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.key_help = StatusHelp(napari_viewer, _KEY_HELP, self._has_cells)
        self._build()
        self.close_question = CloseQuestion(self, self.project_button.may_be_left)
        self.clicks = CellClicks(napari_viewer, lambda: self.results, self.go_to_cell)
        # napari keeps the Python object after Qt has deleted the widget with its window.
        refresh = self.choices.refresh_layers
        self.destroyed.connect(partial(disconnect_layer_list, napari_viewer, refresh))
        self.choices.changed.connect(self._follow_choices)
        self.choices.drafted.connect(self.classify)
        self.choices.choose_model(preferred_model())
        self.keys = DockKeys(self, self._key_actions(), self._has_cells)

    @property
    def busy(self) -> bool:
        """Whether a task runs, or its result is not shown yet."""
        return self.tasks.running or self.shown.appearing

    @property
    def session(self) -> Session | None:
        """The cells that are shown, with their image and model."""
        return self.shown.session

    @property
    def results(self) -> ResultLayers | None:
        """The layers that show them."""
        return self.shown.results

    @property
    def project(self) -> Project:
        """The project that is open."""
        return self.project_button.project

    def _has_cells(self) -> bool:
        return self.session is not None

    def release(self) -> None:
        """Disconnect from the viewer and cancel all work."""
        self.keys.release()
        self.key_help.release()
        self.close_question.release()
        self.clicks.release()
        self.choices.release()
        self.preview.release()
        self.shown.release()
        self.tasks.cancel()
        self.training.cancel()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802, D102 - Qt's name
        self.release()
        super().closeEvent(event)

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return QSize(_WIDTH, super().sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802, D102 - Qt's name
        super().showEvent(event)
        self.close_question.watch()
        QTimer.singleShot(0, partial(share_place, self))

    def _build(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(*[_MARGIN] * 4)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setMinimumWidth(_WIDTH)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.status = StatusLine()
        self.tasks = TaskList(self.status)
        self.tasks.long_running.connect(self._set_running)
        self._build_choices(column)
        self.explaining = ExplanationPanel()
        column.addWidget(self.explaining)
        column.addLayout(self._buttons())
        column.addWidget(self.status)
        self.evidence = EvidencePanel()
        self.differences = DifferenceTasks(
            self.evidence, self.tasks, self.status, lambda: self.results
        )
        column.addWidget(self.evidence)
        self.about = ElidedLabel()
        self.notes = NotesLine()
        self.table = CellsTable()
        self.table_export = TableExport(self.table, lambda: self.session)
        self.table_export.message.connect(self.status.setText)
        row = QHBoxLayout()
        row.addWidget(self.about, 1)
        row.addWidget(self.table_export)
        column.addLayout(row)
        column.addWidget(self.notes)
        self.table.chosen.connect(self.go_to_cell)
        self.table.selected.connect(self._select_for_training)
        column.addWidget(self.table)
        self.linked = LinkedPlanes()
        self.linked.rows_requested.connect(self.table.select_cells)
        column.addWidget(self.linked)
        self.card = CellCardView()
        self.card.export.message.connect(self.status.setText)
        self.classes = ClassPanel(self.project.corrections)
        self.classes.changed.connect(self._show_true_classes)
        self.classes.cell_requested.connect(self.go_to_cell)
        self.classes.message.connect(self.status.setText)
        column.addWidget(self.classes)
        self.cards = CardTasks(self.card, self.classes, self.tasks, lambda: self.results)
        self.training = TrainPanel(self.project, self.tasks)
        self.training.model_chosen.connect(self._use_model)
        self.training.message.connect(self.status.setText)
        self.training.failed.connect(self.status.show_error)
        tabs = QTabWidget()
        tabs.addTab(self.card, "The cell")
        tabs.addTab(self.training, "Train")
        column.addWidget(tabs)
        column.addStretch()
        self.shown = ShownResults(
            self.viewer, self.choices, self.explaining, self.tasks, self._evidence_steps
        )
        self.shown.found.connect(partial(self.choices_toggle.setChecked, False))
        self.shown.exchanged.connect(self._show_results)
        self.shown.evidence_dropped.connect(self._drop_evidence)
        self.shown.message.connect(self.status.setText)
        self._offer_actions()

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
        self.help_button = HelpButton(self._help_text, self)
        row = QHBoxLayout()
        row.addWidget(self.choices_toggle)
        row.addStretch()
        row.addWidget(self.help_button)
        column.addLayout(row)
        column.addWidget(self.choices)

    def _buttons(self) -> QVBoxLayout:
        """Two rows: the dock must leave half of a small window to the canvas."""
        rows, row = QVBoxLayout(), QHBoxLayout()
        rows.addLayout(row)
        row.setSpacing(_MARGIN)
        self.classify_button = button("Classify", self.classify, row)
        self.explain_button = button("Explain", self.explain, row)
        self.selected_only = QCheckBox("selected")
        self.selected_only.setToolTip(
            "Explain only the cells that are selected in the table (Shift or Ctrl and click)."
        )
        row.addWidget(self.selected_only)
        self.cancel_button = button("Cancel", self.tasks.cancel, row)
        row = QHBoxLayout()
        rows.addLayout(row)
        self.copy_button = button("Copy as command", self.copy_command, row)
        self.project_button = ProjectButton(self.viewer, self.choices, self.explaining)
        self.project_button.exchanged.connect(self._use_project)
        self.project_button.message.connect(self.status.setText)
        self.project_button.failed.connect(self.status.show_error)
        row.addWidget(self.project_button)
        return rows

    def classify(self) -> None:
        """Find and classify all cells of the chosen layers."""
        try:
            choices = self.choices.choices()
            origin = self.shown.origin_of(choices)
            stack, labels = choices.stack(), choices.label_stack()
        except CellCamError as error:
            self.status.show_error(error)
            return
        self.choices.preview.setChecked(False)
        show = partial(self.shown.show_session, choices)
        found = origin, stack, labels
        if choices.draft is None:
            by = choices.model_folder, choices.device
            self.tasks.start("Classifying cells", show, classify, *found, *by)
        else:
            self.tasks.start("Finding cells", show, find, *found, choices.draft)

    def explain(self) -> None:
        """Show importance maps of all cells for the chosen classes."""
        session = self.session
        if session is None or session.model is None:
            self.status.setText("Classify the cells first.")
            return
        rows = sorted(self.table.selected_rows()) if self.selected_only.isChecked() else None
        if rows is not None and not rows:
            self.status.setText("Select cells first: click them in the table or on the canvas.")
            return
        self.tasks.start(
            "Explaining cells",
            partial(self.shown.show_evidence, session),
            explain_session,
            session,
            self.choices.chosen_classes(),
            rows,
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
        self.linked.show_cell(session, row)
        if self.results:
            with view_kept(self.viewer, planes_and_camera=False):
                self.results.show_cell(session.table.iloc[row], row)
        self.cards.show_cell(session, row)

    def _use_project(self) -> None:
        """Let the panels work on the project that is open now."""
        self.classes.use(self.project.corrections)
        self.training.use(self.project)
        if self.session is not None:
            self.classes.show_session(self.session)

    def copy_command(self) -> str:
        """Copy the command that does the same without a window; return it."""
        try:
            choices = replace(self.choices.choices(), explaining=self.explaining.choices())
            command = choices.command()
            left_out = [*choices.not_in_command(), *self._evidence_not_in_command()]
        except InputError as error:
            self.status.show_error(error)
            return ""
        self.status.copy_to_clipboard(command)
        if left_out:
            self.status.setText(f"Copied, but not all of it can be said: {' '.join(left_out)}")
        return command

    def _evidence_not_in_command(self) -> Iterator[str]:
        """What the evidence on the canvas has and the command does not compute."""
        if self.selected_only.isChecked():
            yield "Only the selected cells: the command explains all of them."
        evidence = None if self.results is None else self.results.evidence
        if evidence is not None and evidence.is_signed:
            yield "Why this and not that: the command maps classes only."

    def _follow_choices(self) -> None:
        """Let the panels follow other choices."""
        draft = self.choices.draft
        spec = self.choices.model.spec if draft is None else None
        self.explaining.show_model(self.choices.model.identity, spec)
        self.shown.follow_choices()
        self._offer_actions()

    def _show_results(self) -> None:
        """Let the panels show the results that are on the canvas now, or none."""
        session, results = self.session, self.results
        self.linked.show_cell(None)
        if session is None or results is None:
            self.table.clear()
            self.card.clear()
            self.about.setText("")
            self.notes.show_notes(())
        else:
            if session.model is not None:
                self.explaining.show_layers(session.model.layers)
            self.table.show_cells(session.table)
            self.about.setText(f"Results for {session.origin.image.name}")
            self.notes.show_notes(session.notes)
        self._give_session()
        self.evidence.show_evidence(None if results is None else results.evidence)
        self._offer_actions()

    def _evidence_steps(self) -> Iterator[None]:
        """Let the panels follow new evidence, step by step."""
        session, results = self.session, self.results
        assert session is not None
        assert results is not None
        self.evidence.show_evidence(results.evidence)
        yield
        self.table.update_cells(session.table)
        yield
        self._show_true_classes(self.classes.true_classes)

    def _drop_evidence(self) -> None:
        """Let the panels follow evidence that is no longer shown."""
        session = self.session
        assert session is not None
        for _ in self._evidence_steps():
            pass
        self.cards.explain_again(session)

    def _offer_actions(self) -> None:
        """Enable what makes sense now."""
        running = self.tasks.runs_long
        self.cancel_button.setEnabled(running)
        is_draft = self.choices.draft is not None
        self.classify_button.setText("Find cells" if is_draft else "Classify")
        self.classify_button.setEnabled(not running)
        has_calls = self.session is not None and self.session.model is not None
        self.explain_button.setEnabled(not running and has_calls)
        self.key_help.refresh()

    def _toggle_choices(self, is_open: bool) -> None:
        """Show the choices, or hide them to make room for the cells."""
        self.choices.setVisible(is_open)
        arrows = Qt.ArrowType
        self.choices_toggle.setArrowType(arrows.DownArrow if is_open else arrows.RightArrow)

    def _give_session(self) -> None:
        """Let the panels work on the session that is shown, or on none."""
        folder = self.choices.model_folder if self.choices.draft is None else ""
        packaged = folder == str(samples.sample_path(samples.DEMO_MODEL))
        self.classes.show_session(self.session)
        self.training.show_session(self.session, folder, packaged)

    def _select_for_training(self, rows: list[int]) -> None:
        self.classes.selected = rows

    def _show_true_classes(self, true_classes: dict[int, str]) -> None:
        """Show the classes that the user assigned, in the table and as the cells' colours."""
        self.training.refresh()
        if self.session is None or self.results is None:
            return
        self.project_button.remember()
        table = self.session.table
        assigned = [true_classes.get(row, "") for row in range(len(table))]
        table["true class"] = assigned
        self.table.show_true_classes(assigned)
        self.results.colours = class_colours(self.classes.corrections.classes)
        self.results.recolour(
            [
                true or predicted
                for true, predicted in zip(assigned, self.session.calls, strict=True)
            ]
        )

    def _use_model(self, folder: str) -> None:
        """Classify the cells again, with another model."""
        self.choices.choose_model(folder)
        self.classify()

    def _help_text(self) -> str:
        keys = [*self.keys.actions, *self.table_export.keys]
        return help_page(keys, self.project.folder, self.choices.model_folder)

    def _set_running(self, _: bool) -> None:
        self._offer_actions()

    def _key_actions(self) -> list[KeyAction]:
        """What the keys do, in the dock and on the canvas."""
        true_class, none = "true class of the selected cells", "no true class"
        classes = self.classes
        return [
            *(
                KeyAction(str(i + 1), true_class, partial(classes.assign_number, i))
                for i in range(9)
            ),
            KeyAction("Backspace", none, classes.clear_selected),
            KeyAction("Del", none, classes.clear_selected),
            KeyAction("N", "next cell, as the table is sorted", partial(self.table.step, 1)),
            KeyAction("P", "previous cell", partial(self.table.step, -1)),
            KeyAction("E", "evidence or image", self.evidence.toggle),
            KeyAction("Ctrl+Z", "undo", lambda: classes.corrections.undo()),
            KeyAction("Ctrl+Shift+Z", "redo", lambda: classes.corrections.redo()),
            KeyAction("Ctrl+Y", "redo", lambda: classes.corrections.redo()),
        ]
