"""The command line in a process of its own: it can be ended at once, and gives all memory back."""

from __future__ import annotations

import atexit
import sys
from typing import Any

from qtpy.QtCore import QObject, QProcess, QTimer, Signal

_PATIENCE_MS = 1000
# A process must not lose its object while it runs, whoever has let go of it.
_RUNNING: set[Command] = set()


class Command(QObject):
    """One ``cellcam`` command.

    Parameters
    ----------
    *words : of the command
    patience_ms : how long it may take to end by itself when it is cancelled

    Signals
    -------
    said : a line of its output
    ended : (exit status, everything that it said); status -1 where it was cancelled or crashed
    """

    said = Signal(str)
    ended = Signal(int, str)

    def __init__(self, *words: str, patience_ms: int = _PATIENCE_MS) -> None:
        super().__init__()
        self._patience_ms = patience_ms
        self._output = ""
        self._process = QProcess()
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.finished.connect(self._end)
        # Qt ends Python with an abort where a process outlives the interpreter.
        atexit.register(self._end_now)
        _RUNNING.add(self)
        self._process.start(sys.executable, ["-u", "-m", "cellcam", *words])

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return bool(self._process.state() != QProcess.ProcessState.NotRunning)

    def cancel(self) -> None:
        """End it: politely, and by force when its time to end is over."""
        self._process.terminate()
        QTimer.singleShot(self._patience_ms, self._process.kill)

    def _end_now(self) -> None:
        """End it without telling anyone."""
        self._process.blockSignals(True)
        self._process.kill()
        self._process.waitForFinished(_PATIENCE_MS)

    def _read(self) -> None:
        text = bytes(self._process.readAllStandardOutput().data()).decode("utf-8", "replace")
        self._output += text
        for line in text.splitlines():
            self.said.emit(line)

    def _end(self, status: int, how: Any) -> None:
        atexit.unregister(self._end_now)
        _RUNNING.discard(self)
        self._read()
        crashed = how == QProcess.ExitStatus.CrashExit
        self.ended.emit(-1 if crashed else status, self._output)
