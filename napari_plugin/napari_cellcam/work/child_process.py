"""``cellcam`` in a child process: it can be ended at once, and gives all its memory back."""

from __future__ import annotations

import atexit
import sys

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

_PATIENCE_MS = 1000
# Keeps the Qt objects of running processes alive when their owners are gone.
_RUNNING: set[ChildProcess] = set()


class ChildProcess(QObject):
    """One run of the ``cellcam`` command line.

    Parameters
    ----------
    *words : the command, without ``cellcam``
    patience_ms : time that a cancelled process has to end by itself before it is killed

    Attributes
    ----------
    output : all that it has printed so far

    Signals
    -------
    ended : (exit status, output); status -1 if it was cancelled or crashed
    """

    ended = Signal(int, str)

    def __init__(self, *words: str, patience_ms: int = _PATIENCE_MS) -> None:
        super().__init__()
        self.output = ""
        self._patience_ms = patience_ms
        self._process = QProcess()
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.finished.connect(self._end)
        # Qt aborts Python if a process outlives the interpreter.
        atexit.register(self._kill_silently)
        _RUNNING.add(self)
        self._process.setProcessEnvironment(_environment())
        self._process.start(sys.executable, ["-u", "-m", "cellcam", *words])

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return bool(self._process.state() != QProcess.ProcessState.NotRunning)

    @property
    def pid(self) -> int:
        """Process id; 0 if it does not run."""
        return int(self._process.processId())

    def cancel(self) -> None:
        """Ask the process to end, and kill it when its patience is over."""
        self._process.terminate()
        QTimer.singleShot(self._patience_ms, self._process.kill)

    def _kill_silently(self) -> None:
        """Kill the process without emitting ``ended``."""
        self._process.blockSignals(True)
        self._process.kill()
        self._process.waitForFinished(_PATIENCE_MS)

    def _read(self) -> None:
        text = bytes(self._process.readAllStandardOutput().data()).decode("utf-8", "replace")
        self.output += text

    def _end(self, status: int, exit_status: QProcess.ExitStatus) -> None:
        atexit.unregister(self._kill_silently)
        _RUNNING.discard(self)
        self._read()
        crashed = exit_status == QProcess.ExitStatus.CrashExit
        self.ended.emit(-1 if crashed else status, self.output)


def _environment() -> QProcessEnvironment:
    """That of napari; threads that wait give their core to other processes, such as napari.

    By default they spin. A training of 20 cells beside three other busy processes on two cores
    took 133 to 302 s in this way, and 59 to 78 s without.
    """
    environment = QProcessEnvironment.systemEnvironment()
    if not environment.contains("OMP_WAIT_POLICY"):
        environment.insert("OMP_WAIT_POLICY", "passive")
    return environment
