"""Long work off the GUI thread: progress in the activity dock, cancelled within a step."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellcam.torch_loading import leave_a_core, load_torch

# One thread computes at a time: two networks side by side would only slow each other down.
_POOL = ThreadPoolExecutor(1, "cellcam")
# Short tasks that somebody waits for: they run between the steps of a long one.
_SOON: deque[Callable[[], None]] = deque()
# Qt objects must not go away in the computing thread, which holds those it works on.
_UNDERWAY: set[Task] = set()
_TURN_MS = 20  # for what else waits: with 0 it would only be drawn what came before
_PROGRESS_EVERY_S = 0.5  # the whole window is drawn for it


class _CancelledError(Exception):
    """Ends a task between two of its steps."""


class Task(QObject):
    """One piece of work.

    It comes to one end, told in the GUI thread. Cancelled, that is at once; its result is
    dropped, and the computing thread is free again after the step it is in.

    Parameters
    ----------
    title : what it does, for people
    then : called with its result, in the GUI thread, by whoever listens to ``finished``
    soon : whether it is short, and does not wait for the end of a long one
    computes : whether it needs torch

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
        self, title: str, then: Callable[[Any], None], soon: bool = False, computes: bool = True
    ) -> None:
        super().__init__()
        self.title, self.then, self.soon, self._computes = title, then, soon, computes
        self._stop = False
        self._told_at = 0.0
        self._bar = ActivityBar(title)
        self.progressed.connect(self._show)
        self._returned.connect(self._finish)
        self._raised.connect(self._fail)

    def cancel(self) -> None:
        """End the task; the work itself ends at its next step."""
        if not self._stop:
            self._stop = True
            self._close()
            self.cancelled.emit(self)

    def step(self, done: int, total: int) -> None:
        """Progress, told by the work itself; ends it if the task was cancelled."""
        if self._stop:
            raise _CancelledError
        if self.soon:
            return
        now = time.monotonic()
        if now - self._told_at > _PROGRESS_EVERY_S or done == total:
            self._told_at = now
            self.progressed.emit(done, total)
        _run_soon()

    def start(self, work: Callable[..., Any], *arguments: Any) -> Task:
        """Begin ``work(*arguments, progress)`` in the computing thread."""
        _UNDERWAY.add(self)
        if self.soon:
            _SOON.append(partial(self._run, work, arguments))
            _POOL.submit(_run_soon)
        else:
            _POOL.submit(self._run, work, arguments)
        return self

    def _run(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self.step(0, 0)
            if self._computes:
                load_torch()
                leave_a_core()
            result = work(*arguments, self.step)
        except Exception as error:  # noqa: BLE001 - shown to the user, whatever it is
            self._raised.emit(error)
        else:
            self._returned.emit(result)
        finally:
            if not self.soon:
                _give_memory_back()

    def _finish(self, result: Any) -> None:
        self._close()
        _UNDERWAY.discard(self)
        if not self._stop:
            self.finished.emit(self, result)

    def _fail(self, error: Exception) -> None:
        self._close()
        _UNDERWAY.discard(self)
        if not self._stop:
            self.failed.emit(self, error)

    def _show(self, done: int, total: int) -> None:
        if not self._stop:
            self._bar.show(done, total)

    def _close(self) -> None:
        self._bar.close()


class ActivityBar:
    """A bar in napari's activity dock, from the first progress to the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        """Show ``done`` of ``total``; without a total it only says that there is work."""
        from napari.utils import progress

        if self._bar is None:
            self._bar = progress(total=total or None, desc=self._title)
        if total:
            self._bar.total = total
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Turns(QTimer):
    """Work in the GUI thread, one step each time the event loop comes round.

    Parameters
    ----------
    owner : with which it goes away
    """

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._steps: Iterator[None] = iter(())
        self.timeout.connect(self._take)

    def begin(self, steps: Iterator[None]) -> None:
        """Take these steps; those before that are not taken yet are dropped."""
        self._steps = steps
        self.start(_TURN_MS)

    def _take(self) -> None:
        try:
            next(self._steps)
        except StopIteration:
            self.stop()


def _run_soon() -> None:
    while _SOON:
        _SOON.popleft()()


def _give_memory_back() -> None:
    """Leave the GPU's memory to others: torch keeps what it once had."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def told(error: Exception) -> str:
    """What went wrong and what to do, for people."""
    from cellcam.errors import CellCamError

    if isinstance(error, CellCamError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full. Close other programs, or choose the device cpu."
    return f"{type(error).__name__}: {error}. Please report this with the steps that led to it."
