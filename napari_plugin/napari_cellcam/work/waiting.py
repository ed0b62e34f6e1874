"""Calls that the GUI waits for without freezing: the event loop runs meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

from qtpy.QtCore import QEventLoop, QObject, QThread, Signal
from qtpy.QtWidgets import QApplication

Result = TypeVar("Result")


def in_gui() -> bool:
    """Whether this is the GUI thread of a running Qt application."""
    application = QApplication.instance()
    return application is not None and QThread.currentThread() is application.thread()


def without_freezing(work: Callable[[], Result]) -> Result:
    """Result of a call that is made in a thread of its own while the window is drawn.

    Clicks and keys wait until the call has ended, so that nothing else begins meanwhile. Outside
    of the GUI thread the call is simply made.
    """
    if not in_gui():
        return work()
    call = _Call(work)
    loop = QEventLoop()
    call.ended.connect(loop.quit)
    thread = Thread(target=call.run, name="cellcam-waiting", daemon=True)
    thread.start()
    loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
    thread.join()
    return call.result()


def draw_window() -> None:
    """Let the window be drawn and timers run, in the middle of work in the GUI thread."""
    QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)


class _Call(QObject, Generic[Result]):
    """A call, and its result or error."""

    ended = Signal()

    def __init__(self, work: Callable[[], Result]) -> None:
        super().__init__()
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the GUI thread
            self._error = error
        finally:
            self.ended.emit()

    def result(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._results[0]
