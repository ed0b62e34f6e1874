"""The dock widget for folders: runs ``cellcam batch`` in a child process and shows its progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cellcam.errors import CellCamError
from napari_cellcam.batch_dock.batch_form import BatchForm
from napari_cellcam.batch_dock.batch_results import OpenedImage, read_results
from napari_cellcam.batch_dock.batch_table import BatchTable
from napari_cellcam.layers.viewer_state import remove_layers
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.docking import share_place
from napari_cellcam.widgets.model_choice import preferred_model
from napari_cellcam.widgets.status_line import StatusLine
from napari_cellcam.work.child_process import ChildProcess
from napari_cellcam.work.tasks import ActivityBar, Task

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer
    from qtpy.QtGui import QCloseEvent, QShowEvent

    from cellcam.batch.progress import ImageProgress, ProgressWatcher
    from cellcam.progress import Progress

Result = TypeVar("Result")

_WIDTH = 290  # screen pixels
_READ_EVERY_MS = 500
# The blocks that are being worked on are dropped, but the workers must be told to stop.
_PATIENCE_MS = 15_000


class BatchWidget(QScrollArea):
    """Classify and explain all images of a folder.

    Parameters
    ----------
    napari_viewer : the viewer it belongs to

    Attributes
    ----------
    form : folder, model and options
    images : progress of each image
    process : the latest run, if there was a run
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.images: list[ImageProgress] = []
        self.process: ChildProcess | None = None
        self._watcher: ProgressWatcher | None = None
        self._progress_task: Task[list[ImageProgress]] | None = None
        self._opening_task: Task[OpenedImage] | None = None
        self._layers: list[Layer] = []
        self._is_cancelled = False
        self._bar = ActivityBar("Classifying and explaining a folder")
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._read_progress)
        self._processes: list[ChildProcess] = []
        self._build()
        # Qt deletes a dock widget with its window without a closeEvent.
        self.destroyed.connect(partial(_cancel_running, self._processes))
        self.form.model.choose(preferred_model())

    def sizeHint(self) -> QSize:  # noqa: N802, D102 - Qt's name
        return QSize(_WIDTH, super().sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802, D102 - Qt's name
        super().showEvent(event)
        QTimer.singleShot(0, partial(share_place, self))

    @property
    def running(self) -> bool:
        """Whether the child process runs."""
        return self.process is not None and self.process.running

    def release(self) -> None:
        """End the child process, which can be resumed, and cancel all tasks."""
        self.form.model.device.release()
        self._timer.stop()
        self._bar.close()
        for task in (self._progress_task, self._opening_task):
            if task is not None:
                task.cancel()
        _cancel_running(self._processes)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802, D102 - Qt's name
        self.release()
        super().closeEvent(event)

    def start(self) -> None:
        """Begin, or go on where an earlier run with the same choices stopped."""
        from cellcam.batch.progress import ProgressWatcher

        if self.running:
            return
        try:
            words = self.form.command().words()
        except CellCamError as error:
            self.status.show_error(error)
            return
        self._is_cancelled = False
        self._show_images([])
        self._watcher = ProgressWatcher(self._out)
        self.process = ChildProcess(*words, patience_ms=_PATIENCE_MS)
        self._processes[:] = [self.process]
        self.process.ended.connect(self._process_ended)
        self._timer.start(_READ_EVERY_MS)
        self._set_running(True)
        self.status.setText("Starting, and looking at the images...")
        self.progress.setRange(0, 0)
        self._bar.show(0, 0)

    def cancel(self) -> None:
        """Stop in order; finished images are kept."""
        if self.running and self.process is not None:
            self._is_cancelled = True
            self.cancel_button.setEnabled(False)
            self.status.setText("Stopping. Finished images are kept...")
            self.process.cancel()

    def copy_command(self) -> str:
        """Copy the command that does the same without a window; return it."""
        try:
            command = self.form.command().text()
        except CellCamError as error:
            self.status.show_error(error)
            return ""
        self.status.copy_to_clipboard(command)
        return command

    def open_image(self, image: ImageProgress) -> None:
        """Show an image with its cells and maps, in place of the image shown before."""
        if image.state != "done":
            self.status.setText(f"{image.name} is {image.state}. {image.reason}")
            return
        if self._opening_task is not None:
            self._opening_task.cancel()
        self.status.setText(f"Opening {image.name}...")
        task = Task("Opening an image", self._show_opened, short=True, needs_torch=False)
        task.finished.connect(self._task_finished)
        task.failed.connect(self._task_failed)
        self._opening_task = task
        task.start(read_results, Path(image.file), self._out, image.name)

    @property
    def _out(self) -> Path:
        return Path(self.form.command().out)

    def _build(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setMinimumWidth(_WIDTH)
        self.status = StatusLine("Start goes on where an earlier run into the same folder stopped.")
        self.form = BatchForm()
        self.form.model.failed.connect(self.status.show_error)
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
        column.addWidget(self.status)
        self.table = BatchTable()
        self.table.image_requested.connect(self.open_image)
        column.addWidget(self.table, 1)
        self._set_running(False)

    def _read_progress(self) -> None:
        """Read the progress of all images, in a task: the folder may lie on a slow disk."""
        if self._watcher is None or self._progress_task is not None:
            return
        task = Task("Looking at results", self._progress_read, short=True, needs_torch=False)
        task.finished.connect(self._task_finished)
        task.failed.connect(self._task_failed)
        self._progress_task = task
        task.start(_read_watched, self._watcher)

    def _task_finished(self, task: Task[Result], result: Result) -> None:
        self._remove_task(task)
        task.on_result(result)

    def _task_failed(self, task: Task[Result], error: Exception) -> None:
        self._remove_task(task)
        self.status.show_error(error)

    def _remove_task(self, task: Task[Result]) -> None:
        if task is self._progress_task:
            self._progress_task = None
        else:
            self._opening_task = None

    def _progress_read(self, images: list[ImageProgress]) -> None:
        if not images:
            return
        if not self.running:  # the process may have ended in the middle of an image
            images = [
                replace(image, state="waiting") if image.state == "running" else image
                for image in images
            ]
        self._show_images(images)
        if self.running and not self._is_cancelled:
            states = Counter(image.state for image in images)
            cells = sum(image.cells for image in images)
            bad = states["failed"] + states["refused"]
            without = f", {bad} without result" if bad else ""
            self.status.setText(
                f"{states['done']} of {len(images)} images done, {cells} cells{without}."
            )

    def _show_images(self, images: Sequence[ImageProgress]) -> None:
        self.images = list(images)
        self.table.show_images(images)
        ended = sum(image.state not in ("waiting", "running") for image in images)
        self.progress.setRange(0, len(images))
        self.progress.setValue(ended)
        if self.running:
            self._bar.show(ended, len(images))

    def _process_ended(self, status: int, output: str) -> None:
        self._timer.stop()
        self._bar.close()
        self._set_running(False)
        reason = output.rpartition("cellcam: ")[2].strip()
        if self._is_cancelled:
            self.status.setText("Stopped. Finished images are kept; Start goes on.")
        elif status in (0, 2):
            self.status.setText(f"{_summary(output)} Double-click an image to see its results.")
        elif status == -1:
            self.status.show_error(
                "The command was ended from outside. Start goes on where it was."
            )
        else:
            self.status.show_error(reason[-600:] or f"The command ended with status {status}.")
        if self._progress_task is not None:  # it may have read the files before the end
            self._progress_task.cancel()
            self._progress_task = None
        self._read_progress()

    def _show_opened(self, opened: OpenedImage) -> None:
        remove_layers(self.viewer, self._layers)
        from napari.layers import Layer

        self._layers = [self.viewer.add_layer(Layer.create(*data)) for data in opened.layers]
        self.viewer.reset_view()
        self.status.setText(opened.message)

    def _set_running(self, running: bool) -> None:
        self.start_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
        if running:
            self.progress.show()
        elif self.progress.maximum() == 0:
            self.progress.hide()  # a bar without a total would go on moving


def _cancel_running(processes: Sequence[ChildProcess], _: object = None) -> None:
    """Cancel the processes that still run; finished images are kept."""
    for process in processes:
        if process.running:
            process.cancel()


def _read_watched(watcher: ProgressWatcher, _: Progress) -> list[ImageProgress]:
    return watcher.look()


def _summary(output: str) -> str:
    """The line of the command's output that counts cells and images."""
    lines = [line for line in output.splitlines() if line.endswith(" images.")]
    return lines[-1] if lines else "Done."
