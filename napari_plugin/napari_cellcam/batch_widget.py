"""The dock widget for folders: ``cellcam batch`` in a process of its own, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cellcam.errors import CellCamError
from napari_cellcam.batch_form import BatchForm
from napari_cellcam.batch_results import Opened, read_results
from napari_cellcam.batch_table import BatchTable
from napari_cellcam.buttons import button
from napari_cellcam.child import Command
from napari_cellcam.model_choice import preferred_model
from napari_cellcam.work import ActivityBar, Task, told

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from cellcam.batch.progress import ImageProgress, ProgressWatcher

_LOOK_EVERY_MS = 500
# The blocks that are being worked on are dropped, but workers have to be told.
_PATIENCE_MS = 15_000


class BatchWidget(QScrollArea):
    """Classify and explain all images of a folder.

    Parameters
    ----------
    napari_viewer : the viewer it belongs to

    Attributes
    ----------
    form : what is chosen
    images : how each stands
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.images: list[ImageProgress] = []
        self.command: Command | None = None
        self._watch: ProgressWatcher | None = None
        self._looking: Task | None = None
        self._opening: Task | None = None
        self._layers: list[Layer] = []
        self._cancelled = False
        self._bar = ActivityBar("Classifying and explaining a folder")
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._commands: list[Command] = []
        self._build()
        # Qt deletes a dock with its window, and tells no closeEvent.
        self.destroyed.connect(partial(_end, self._commands))
        self.form.model.choose(preferred_model())

    @property
    def running(self) -> bool:
        """Whether the command is at work."""
        return self.command is not None and self.command.running

    def let_go(self) -> None:
        """End the command, which can be resumed, and let go of what was asked for."""
        self.form.model.device.let_go()
        self._timer.stop()
        self._bar.close()
        for task in (self._looking, self._opening):
            if task is not None:
                task.cancel()
        _end(self._commands)

    def closeEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        self.let_go()
        super().closeEvent(event)

    def start(self) -> None:
        """Begin, or go on where an earlier run with the same choices stopped."""
        from cellcam.batch.progress import ProgressWatcher

        if self.running:
            return
        try:
            words = self.form.command().words()
        except CellCamError as error:
            self._complain(str(error))
            return
        self._cancelled = False
        self._show([])
        self._watch = ProgressWatcher(self._out)
        self.command = Command(*words, patience_ms=_PATIENCE_MS)
        self._commands[:] = [self.command]
        self.command.ended.connect(self._ended)
        self._timer.start(_LOOK_EVERY_MS)
        self._working(True)
        self._say("Starting, and looking at the images...")
        self.progress.setRange(0, 0)
        self._bar.show(0, 0)

    def cancel(self) -> None:
        """Stop in order; what is done is kept."""
        if self.running and self.command is not None:
            self._cancelled = True
            self.cancel_button.setEnabled(False)
            self._say("Stopping. What is done is kept...")
            self.command.cancel()

    def copy_command(self) -> str:
        """The command that does the same without a window; it is put on the clipboard."""
        try:
            command = self.form.command().text()
        except CellCamError as error:
            self._complain(str(error))
            return ""
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(command)
        self._say(f"Copied: {command}")
        return command

    def open_image(self, image: ImageProgress) -> None:
        """Show an image with its cells and maps, in place of the one shown before."""
        if image.state != "done":
            self._say(f"{image.name} is {image.state}. {image.reason}")
            return
        if self._opening is not None:
            self._opening.cancel()
        self._say(f"Opening {image.name}...")
        self._opening = Task("Opening an image", self._open, soon=True, computes=False)
        self._opening.finished.connect(self._task_finished)
        self._opening.failed.connect(self._task_failed)
        self._opening.start(read_results, Path(image.file), self._out, image.name)

    @property
    def _out(self) -> Path:
        return Path(self.form.command().out)

    def _build(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setMinimumWidth(420)
        self.form = BatchForm()
        self.form.model.failed.connect(lambda error: self._complain(told(error)))
        column.addWidget(self.form)
        row = QHBoxLayout()
        self.start_button = button("Start", self.start, row)
        self.cancel_button = button("Cancel", self.cancel, row)
        self.copy_button = button("Copy as command", self.copy_command, row)
        column.addLayout(row)
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m images")
        self.progress.hide()
        column.addWidget(self.progress)
        self.status = QLabel("Start goes on where an earlier run into the same folder stopped.")
        self.status.setWordWrap(True)
        column.addWidget(self.status)
        self.table = BatchTable()
        self.table.asked_for.connect(self.open_image)
        column.addWidget(self.table, 1)
        self._working(False)

    def _look(self) -> None:
        """See how the images stand, off the GUI thread: a folder may lie on a slow disk."""
        if self._watch is None or self._looking is not None:
            return
        self._looking = Task("Looking at results", self._looked, soon=True, computes=False)
        self._looking.finished.connect(self._task_finished)
        self._looking.failed.connect(self._task_failed)
        self._looking.start(_look, self._watch)

    def _task_finished(self, task: Task, result: Any) -> None:
        self._forget(task)
        task.then(result)

    def _task_failed(self, task: Task, error: Exception) -> None:
        self._forget(task)
        self._complain(told(error))

    def _forget(self, task: Task) -> None:
        if task is self._looking:
            self._looking = None
        else:
            self._opening = None

    def _looked(self, images: list[ImageProgress]) -> None:
        if not images:
            return
        if not self.running:  # it may have been ended in the middle of them
            images = [replace(one, state="waiting") if _is_at(one) else one for one in images]
        self._show(images)
        if self.running and not self._cancelled:
            states = Counter(one.state for one in images)
            cells = sum(one.cells for one in images)
            bad = states["failed"] + states["refused"]
            also = f", {bad} without result" if bad else ""
            self._say(f"{states['done']} of {len(images)} images done, {cells} cells{also}.")

    def _show(self, images: Sequence[ImageProgress]) -> None:
        self.images = list(images)
        self.table.show_images(images)
        ended = sum(one.state not in ("waiting", "running") for one in images)
        self.progress.setRange(0, len(images))
        self.progress.setValue(ended)
        if self.running:
            self._bar.show(ended, len(images))

    def _ended(self, status: int, output: str) -> None:
        self._timer.stop()
        self._bar.close()
        self._working(False)
        said = output.rpartition("cellcam: ")[2].strip()
        if self._cancelled:
            self._say("Stopped. What is done is kept; Start goes on.")
        elif status in (0, 2):
            self._say(f"{_last_sentence(output)} Double-click an image to see its results.")
        elif status == -1:
            self._complain("The command was ended from outside. Start goes on where it was.")
        else:
            self._complain(said[-600:] or f"The command ended with status {status}.")
        if self._looking is not None:  # what it sees may be older than the end
            self._looking.cancel()
            self._looking = None
        self._look()

    def _open(self, opened: Opened) -> None:
        for layer in self._layers:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        from napari.layers import Layer

        self._layers = [self.viewer.add_layer(Layer.create(*data)) for data in opened.layers]
        self.viewer.reset_view()
        self._say(opened.told)

    def _working(self, now: bool) -> None:
        self.start_button.setEnabled(not now)
        self.cancel_button.setEnabled(now)
        if now:
            self.progress.show()
        elif self.progress.maximum() == 0:
            self.progress.hide()  # it would go on moving

    def _complain(self, text: str) -> None:
        from napari.utils.notifications import show_error

        self._say(text)
        show_error(text)

    def _say(self, text: str) -> None:
        self.status.setText(text)


def _end(commands: list[Command], _: Any = None) -> None:
    """End what still runs; what it has done is kept."""
    for command in commands:
        if command.running:
            command.cancel()


def _look(watch: ProgressWatcher, _: Any) -> list[ImageProgress]:
    return watch.look()


def _is_at(image: ImageProgress) -> bool:
    return image.state == "running"


def _last_sentence(output: str) -> str:
    """What the command said before the list of files that it wrote."""
    lines = [line for line in output.splitlines() if line.endswith(" images.")]
    return lines[-1] if lines else "Done."
