"""The running tasks of a dock widget, reported in its status line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from qtpy.QtCore import QObject, Signal

from napari_cellcam.work.tasks import Task
from napari_cellcam.work.torch_loading import torch_is_loaded

if TYPE_CHECKING:
    from cellcam.progress import Progress
    from napari_cellcam.widgets.status_line import StatusLine

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class TaskList(QObject):
    """Tasks that have not ended, in the order of their start.

    Parameters
    ----------
    status : shows progress and errors; Qt deletes the list, and so its connections, with it

    Signals
    -------
    long_running : whether a task that is not short runs
    """

    long_running = Signal(bool)

    def __init__(self, status: StatusLine) -> None:
        super().__init__(status)
        self._status = status
        self._tasks: list[Task[object]] = []

    @property
    def running(self) -> bool:
        """Whether a task runs."""
        return bool(self._tasks)

    @property
    def runs_long(self) -> bool:
        """Whether a task runs that is not short."""
        return not all(task.short for task in self._tasks)

    def start(
        self,
        title: str,
        on_result: Callable[[Result], object],
        work: Callable[[*Arguments, Progress], Result],
        *arguments: *Arguments,
        short: bool = False,
    ) -> None:
        """Start a `Task`."""
        task = Task(title, on_result, short)
        task.finished.connect(self._finished)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)
        task.progressed.connect(self._progressed)
        self._tasks.append(task)
        if not short:
            self.long_running.emit(True)
            loading = "" if torch_is_loaded() else " Loading torch takes some seconds."
            self._status.setText(f"{title}...{loading}")
        task.start(work, *arguments)

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in [*self._tasks]:
            task.cancel()

    def cancel_short(self) -> None:
        """Cancel the short tasks."""
        for task in [*self._tasks]:
            if task.short:
                task.cancel()

    def _finished(self, task: Task[Result], result: Result) -> None:
        self._remove(task)
        task.on_result(result)

    def _failed(self, task: Task[Result], error: Exception) -> None:
        self._remove(task)
        self._status.show_error(error)

    def _cancelled(self, task: Task[Result]) -> None:
        self._remove(task)
        if not task.short:
            self._status.setText("Cancelled.")

    def _remove(self, task: Task[Result]) -> None:
        self._tasks.remove(task)
        self.long_running.emit(not all(task.short for task in self._tasks))

    def _progressed(self, done: int, total: int) -> None:
        long_task = next((task for task in self._tasks if not task.short), None)
        if long_task is not None and total:
            self._status.setText(f"{long_task.title}: {done} of {total}")
