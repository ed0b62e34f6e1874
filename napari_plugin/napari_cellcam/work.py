"""Long work off the GUI thread: progress in the activity dock, cancelled within a step."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_cellcam.torch_loading import load_torch

# One thread computes at a time: two networks side by side would only slow each other down.
_POOL = ThreadPoolExecutor(1, "cellcam")
# Short jobs that somebody waits for: they run between the steps of a long one.
_SOON: deque[Callable[[], None]] = deque()


class _CancelledError(Exception):
    """Ends a job between two of its steps."""


class Job(QObject):
    """One piece of work.

    Parameters
    ----------
    title : what it does, for people
    then : called with its result, in the GUI thread, by whoever listens to ``finished``
    soon : whether it is short, and does not wait for the end of a long one

    Signals
    -------
    progressed : (done, total)
    finished : (this job, result)
    failed : (this job, the error)
    cancelled : this job
    """

    progressed = Signal(int, int)
    finished = Signal(object, object)
    failed = Signal(object, object)
    cancelled = Signal(object)

    def __init__(self, title: str, then: Callable[[Any], None], soon: bool = False) -> None:
        super().__init__()
        self.title, self.then, self.soon = title, then, soon
        self._stop = False
        self._bar: Any = None
        self.progressed.connect(self._show)
        for end in (self.finished, self.failed, self.cancelled):
            end.connect(self._close)

    def cancel(self) -> None:
        """Ask the work to end at its next step."""
        self._stop = True

    def step(self, done: int, total: int, note: str = "") -> None:
        """Progress, told by the work itself; ends it if it was cancelled."""
        if self._stop:
            raise _CancelledError
        if not self.soon:
            self.progressed.emit(done, total)
            _run_soon()

    def start(self, work: Callable[..., Any], *arguments: Any) -> Job:
        """Begin ``work(*arguments, progress)`` in the computing thread."""
        if self.soon:
            _SOON.append(partial(self._run, work, arguments))
            _POOL.submit(_run_soon)
        else:
            _POOL.submit(self._run, work, arguments)
        return self

    def _run(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self.step(0, 0)
            load_torch()
            result = work(*arguments, self.step)
        except _CancelledError:
            self.cancelled.emit(self)
        except Exception as error:  # noqa: BLE001 - shown to the user, whatever it is
            self.failed.emit(self, error)
        else:
            self.finished.emit(self, result)
        finally:
            if not self.soon:
                _give_memory_back()

    def _show(self, done: int, total: int) -> None:
        from napari.utils import progress

        if self._bar is None:
            self._bar = progress(total=total or None, desc=self.title)
        if total:
            self._bar.total = total
        self._bar.n = done
        self._bar.refresh()

    def _close(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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
