"""Long work in a second thread: progress in napari's activity dock, cancelled within a step."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, TypeVarTuple

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellcam.work.torch_loading import leave_a_core, load_torch

if TYPE_CHECKING:
    import napari.utils

    from cellcam.progress import Progress

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

# One thread computes at a time: two networks side by side would only slow each other down.
_POOL = ThreadPoolExecutor(1, "cellcam")
# Short tasks, which the user waits for: they run between the steps of a long task.
_SHORT_TASKS: deque[Callable[[], None]] = deque()
# Keeps the Qt objects of running tasks alive while the computing thread uses them.
_RUNNING: set[Task[object]] = set()
_STEP_MS = 20  # with 0 the event loop would only draw the step before, and leave the rest waiting
_REPORT_EVERY_S = 0.5  # each report draws the whole window


class _CancelledError(Exception):
    """Ends a task between two of its steps."""


class Task(QObject, Generic[Result]):
    """One call in the computing thread.

    Exactly one of ``finished``, ``failed`` and ``cancelled`` is emitted, in the GUI thread.
    `cancel` emits at once and drops the result; the computing thread is free again after its
    current step.

    Parameters
    ----------
    title : text beside the progress bar
    on_result : called with the result, in the GUI thread, by the listener of ``finished``
    short : whether it runs between the steps of a long task, rather than after it
    needs_torch : whether torch is loaded first

    Signals
    -------
    progressed : (done, total)
    finished : (this task, result)
    failed : (this task, the error)
    cancelled : this task
    """

    progressed = Signal(int, int)
    finished = Signal(object, object)
    failed = Signal(object, object)
    cancelled = Signal(object)
    _returned = Signal(object)
    _raised = Signal(object)

    def __init__(
        self,
        title: str,
        on_result: Callable[[Result], object],
        short: bool = False,
        needs_torch: bool = True,
    ) -> None:
        super().__init__()
        self.title, self.on_result, self.short = title, on_result, short
        self._needs_torch = needs_torch
        self._is_cancelled = False
        self._reported_at = 0.0
        self._bar = ActivityBar(title)
        self.progressed.connect(self._show)
        self._returned.connect(self._finish)
        self._raised.connect(self._fail)

    def cancel(self) -> None:
        """End the task; the computing thread stops at its next step."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._bar.close()
            self.cancelled.emit(self)

    def report_progress(self, done: int, total: int, note: str = "") -> None:
        """Called by the work after each step; raises if the task was cancelled."""
        if self._is_cancelled:
            raise _CancelledError
        if self.short:
            return
        now = time.monotonic()
        if now - self._reported_at > _REPORT_EVERY_S or done == total:
            self._reported_at = now
            self.progressed.emit(done, total)
        _run_short_tasks()

    def start(
        self, work: Callable[[*Arguments, Progress], Result], *arguments: *Arguments
    ) -> Task[Result]:
        """Begin ``work(*arguments, progress)`` in the computing thread."""
        _RUNNING.add(self)
        run = partial(self._run, lambda progress: work(*arguments, progress))
        if self.short:
            _SHORT_TASKS.append(run)
            _POOL.submit(_run_short_tasks)
        else:
            _POOL.submit(run)
        return self

    def _run(self, work: Callable[[Progress], Result]) -> None:
        try:
            if self._needs_torch:
                load_torch()
                leave_a_core()
            # Not before: napari draws the whole window for a new bar, and drawing is slow while
            # another thread imports.
            self.report_progress(0, 0)
            result = work(self.report_progress)
        except Exception as error:  # noqa: BLE001 - shown to the user, whatever it is
            self._raised.emit(error)
        else:
            self._returned.emit(result)
        finally:
            if not self.short:
                _free_gpu_memory()

    def _finish(self, result: Result) -> None:
        self._bar.close()
        _RUNNING.discard(self)
        if not self._is_cancelled:
            self.finished.emit(self, result)

    def _fail(self, error: Exception) -> None:
        self._bar.close()
        _RUNNING.discard(self)
        if not self._is_cancelled:
            self.failed.emit(self, error)

    def _show(self, done: int, total: int) -> None:
        if not self._is_cancelled:
            self._bar.show(done, total)


class ActivityBar:
    """A bar in napari's activity dock, from the first progress to the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: napari.utils.progress | None = None

    def show(self, done: int, total: int) -> None:
        """Show ``done`` of ``total``; with a total of 0 the bar only moves."""
        from napari.utils import progress

        if self._bar is None:
            self._bar = progress(total=total or None, desc=self._title)
        if total:
            self._bar.total = total
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class StepTimer(QTimer):
    """Work in the GUI thread, cut into steps between which the event loop runs.

    Parameters
    ----------
    owner : Qt parent
    """

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._steps: Iterator[None] = iter(())
        self.timeout.connect(self._next_step)

    def begin(self, steps: Iterator[None]) -> None:
        """Run these steps; steps that are left from an earlier call are dropped."""
        self._steps = steps
        self.start(_STEP_MS)

    def _next_step(self) -> None:
        try:
            next(self._steps)
        except StopIteration:
            self.stop()
        else:
            if self.isActive():  # the interval begins anew: what the step changed is drawn first
                self.start(_STEP_MS)


def error_text(error: Exception) -> str:
    """Message for the user: what went wrong, and what to do next."""
    from cellcam.errors import CellCamError

    if isinstance(error, CellCamError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full. Close other programs, or choose the device cpu."
    return f"{type(error).__name__}: {error}. Please report this with the steps that led to it."


def _run_short_tasks() -> None:
    while _SHORT_TASKS:
        _SHORT_TASKS.popleft()()


def _free_gpu_memory() -> None:
    """Give torch's cached GPU memory back to other programs."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
