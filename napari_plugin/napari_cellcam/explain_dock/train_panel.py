"""Train a classifier on the corrected cells, compare it with the old one, keep one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from cellcam.errors import CellCamError
from napari_cellcam.state.comparison import Comparison, cells_of_training, compare
from napari_cellcam.state.project import Project, model_line
from napari_cellcam.state.training_cells import has_earned_trust, what_lacks, write_training
from napari_cellcam.state.training_progress import TrainingProgress
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.charts import AccuracyCurve
from napari_cellcam.widgets.labels import WrappedLabel
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox
from napari_cellcam.work.child_process import ChildProcess

if TYPE_CHECKING:
    from napari_cellcam.state.session import Session
    from napari_cellcam.widgets.task_list import TaskList

_READ_EVERY_MS = 500


class TrainPanel(QWidget):
    """Training, its progress, the comparison of the new model with the old, and all models.

    A new model is never used by itself: the user chooses after the comparison.

    Parameters
    ----------
    project : that is open
    tasks : for the comparison

    Attributes
    ----------
    process : the latest training, if there was a training
    comparison : of the latest model with the one before; None before

    Signals
    -------
    model_chosen : folder of the model to use
    message : text for the user
    failed : an error
    """

    model_chosen = Signal(str)
    message = Signal(str)
    failed = Signal(object)

    def __init__(self, project: Project, tasks: TaskList) -> None:
        super().__init__()
        self.project, self._tasks = project, tasks
        self.session: Session | None = None
        self.process: ChildProcess | None = None
        self.comparison: Comparison | None = None
        self.out = Path()
        self._old_folder = ""
        self._build()
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether a training runs."""
        return self.process is not None and self.process.running

    def use(self, project: Project) -> None:
        """Work in another project."""
        self.project = project
        self._hide_comparison()
        self.refresh()

    def show_session(self, session: Session | None, model_folder: str, packaged: bool) -> None:
        """Train on cells that are seen as those of this session.

        Parameters
        ----------
        model_folder : of the session's model; empty without one
        packaged : whether that is the packaged model
        """
        self.session, self._model_folder = session, model_folder
        model = session.model if session is not None else None
        earned = model is not None and has_earned_trust(model.spec, packaged)
        self.with_sure_calls.setEnabled(earned)
        self.with_sure_calls.setChecked(self.with_sure_calls.isChecked() and earned)
        self.go_on.setEnabled(model is not None)
        self.refresh()

    def refresh(self) -> None:
        """Say what lacks for a training, and list the models."""
        lacking = what_lacks(self.project.corrections, self.session)
        self._lacking.setText(lacking)
        self._lacking.setVisible(bool(lacking))
        self.train_button.setEnabled(not lacking and not self.running)
        self.cancel_button.setEnabled(self.running)
        folders = [str(folder) for folder in self.project.models()]
        if [self.models.itemData(i) for i in range(self.models.count())] != folders:
            self.models.clear()
            for folder in folders:
                self.models.addItem(model_line(Path(folder)), folder)
        self._models_row.setVisible(bool(folders))

    def train(self) -> None:
        """Train a new model on the corrected cells, in a child process."""
        if self.session is None:
            return
        self.out = self.project.new_model()
        self._old_folder = self._model_folder
        try:
            table = write_training(
                cells_of_training(self.out).parent,
                self.project.corrections,
                self.session,
                self.with_sure_calls.isChecked(),
            )
        except (CellCamError, OSError) as error:
            self.failed.emit(error)
            return
        words = ["train", str(table), "--out", str(self.out)]
        words += ["--recipe", str(table.with_name("recipe.yaml"))]
        if self.go_on.isChecked() and self.go_on.isEnabled():
            words += ["--start-from", self._old_folder]
        self._hide_comparison()
        self.process = ChildProcess(*words)
        self.process.ended.connect(self._process_ended)
        self._progress = TrainingProgress(self.out.with_name(f"{self.out.name}.training"))
        self.curve.show_values([])
        self._timer.start(_READ_EVERY_MS)
        self.refresh()
        self._read_progress()

    def cancel(self) -> None:
        """End a training."""
        if self.process is not None and self.process.running:
            self.process.cancel()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.go_on = QCheckBox("Go on from the present model")
        self.go_on.setChecked(True)
        self.go_on.setToolTip("Begin with what the present model knows, instead of from nothing.")
        self.with_sure_calls = QCheckBox("Also learn from sure calls")
        self.with_sure_calls.setToolTip(
            "Learn from cells that you did not correct, too, if the model is sure of their class. "
            "Only for a model that was right in 90 % of real cells that it had not seen."
        )
        column.addWidget(self.go_on)
        column.addWidget(self.with_sure_calls)
        self._lacking = WrappedLabel()
        column.addWidget(self._lacking)
        row = QHBoxLayout()
        self.train_button = button("Train", self.train, row)
        self.cancel_button = button("Cancel training", self.cancel, row)
        column.addLayout(row)
        self._phase = WrappedLabel()
        column.addWidget(self._phase)
        self.curve = AccuracyCurve()
        column.addWidget(self.curve)
        self._verdict = WrappedLabel()
        column.addWidget(self._verdict)
        self.use_button = button("Use the new model", self._use_new, column)
        self.keep_button = button("Keep the old model", self._keep_old, column)
        self._models_row = QWidget()
        row = QHBoxLayout(self._models_row)
        row.setContentsMargins(0, 0, 0, 0)
        self.models = NarrowComboBox()
        self.models.setToolTip("All models of this project, the latest first.")
        row.addWidget(self.models, 1)
        button("Use", lambda: self.model_chosen.emit(str(self.models.currentData())), row)
        column.addWidget(self._models_row)
        column.addStretch()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._read_progress)
        self._model_folder = ""
        self._hide_comparison()

    def _read_progress(self) -> None:
        self._phase.setText(self._progress.text())
        self.curve.show_values(self._progress.accuracies())

    def _process_ended(self, status: int, output: str) -> None:
        self._timer.stop()
        self._phase.setText("")
        self.refresh()
        if status == 0:
            old = self.session.model if self.session is not None else None
            cells = cells_of_training(self.out)
            arguments = self.out, cells, old, Path(self._old_folder)
            self._tasks.start("Comparing models", self._show_comparison, compare, *arguments)
        elif status == -1:
            self.message.emit("Training was cancelled.")
        else:
            self.failed.emit(CellCamError(_last_message(output)))

    def _show_comparison(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._verdict.setText(f"{self.out.name} is trained. {comparison.text()}")
        self.keep_button.setVisible(bool(self._old_folder))
        self._verdict.setVisible(True)
        self.use_button.setVisible(True)
        self.message.emit("The new model is trained: compare, then choose.")

    def _hide_comparison(self) -> None:
        for widget in (self._verdict, self.use_button, self.keep_button):
            widget.setVisible(False)

    def _use_new(self) -> None:
        self._hide_comparison()
        self.model_chosen.emit(str(self.out))

    def _keep_old(self) -> None:
        self._hide_comparison()
        self.message.emit(f"The old model stays. {self.out.name} is kept in the list of models.")


def _last_message(output: str) -> str:
    """What the command said last, without its name in front."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("cellcam: ") for line in lines if line.startswith("cellcam: ")]
    return errors[-1] if errors else "\n".join(lines[-5:]) or "The training ended without a word."
