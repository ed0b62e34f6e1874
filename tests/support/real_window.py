"""The real napari window, driven with a pointer and a keyboard as by a person.

    with RealWindow(size=(1280, 800), theme="light") as window:
        window.menu("Layers", "Classify", "Classify and explain cells")
        window.click("find(QPushButton, 'Classify')")
        window.until("find('CellsTable').model().rowCount() > 0")
        window.key("n")
        window.picture("after.png")

It has a screen (`support.x_screen`) and a home folder of its own. What is clicked and awaited is
written as Python that is evaluated in the window's process: `Names` in `support.window_process`
lists what is at hand beside Qt's widgets. It is there to look and to find; to act, click.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from support.x_screen import XScreen

_TESTS = Path(__file__).parents[1]
_LOOK_EVERY_S = 0.05  # each look takes a millisecond or two of the window's time
_MOST_SCROLLS = 60
# Of the user's desktop: Qt would take its dialogs, scale and keyboard from there.
_NOT_INHERITED = (
    "QT_", "QPA_", "WAYLAND_", "XDG_", "GTK_", "NAPARI_", "DESKTOP_SESSION", "XMODIFIERS",
    "XAUTHORITY", "COVERAGE_PROCESS", "PYTEST_",
)  # fmt: skip

Place = str | tuple[float, float]


class Gap(NamedTuple):
    """A time without events: the step of the test, seconds, computing seconds, and where."""

    step: str
    seconds: float
    computing: float
    where: str


class WindowError(RuntimeError):
    """Code failed in the window's process."""


class RealWindow:
    """napari on a virtual screen of its own.

    Parameters
    ----------
    size : width and height of screen and window in pixels
    theme : of napari
    scale : screen pixels per unit of Qt, as on a dense screen
    display : number of the display; None for the first that is free
    home : home folder, with napari's settings; None for a temporary folder
    """

    def __init__(
        self,
        size: tuple[int, int] = (1600, 1000),
        theme: str = "dark",
        scale: float = 1.0,
        display: int | None = None,
        home: Path | None = None,
    ) -> None:
        self.size, self.theme, self.scale, self.display = size, theme, scale, display
        self._given_home = home

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            if self._given_home is None:
                self.home = Path(tempfile.mkdtemp(prefix="window-"))
                undo.callback(shutil.rmtree, self.home, ignore_errors=True)
            else:
                self.home = self._given_home
            self.screen = XScreen(self.size, self.display)
            undo.callback(self.screen.close)
            self._link, theirs = socket.socketpair()
            undo.callback(self._link.close)
            with theirs, (self.home / "window.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "support.window_process", str(theirs.fileno()),
                     *map(str, self.size), self.theme],
                    cwd=self.home,
                    env=self._environment(),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            undo.callback(self._end)
            self._received = b""
            self._receive(180)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def run(self, code: str, seconds: float = 60) -> str:
        """Run code in the window's event loop and return what it printed.

        Raises
        ------
        WindowError
            If it fails there.
        TimeoutError
            If the event loop does not answer.
        """
        return self._ask(code, False, seconds).strip()

    def value(self, expression: str, seconds: float = 60) -> Any:
        """Value of an expression in the window: numbers, text, and lists of these."""
        return ast.literal_eval(self._ask(expression, True, seconds))

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression holds in the window; what cannot be found yet does not."""
        end, error = time.monotonic() + seconds, ""
        while True:
            try:
                if self.value(f"bool({expression})", seconds):
                    return
            except WindowError as failed:
                error = str(failed)
            if time.monotonic() > end:
                self.picture(self.home / "in_vain.png")
                raise TimeoutError(f"Not within {seconds} s: {expression}\n{error}")
            time.sleep(_LOOK_EVERY_S)

    def click(
        self, place: Place, button: int = 1, times: int = 1, modifiers: Sequence[str] = ()
    ) -> None:
        """Click at a position or on a widget, and wait until Qt has got it.

        Parameters
        ----------
        place : (x, y) on the screen, or an expression for a position or a widget, which is
            scrolled into view
        modifiers : keys held meanwhile
        """
        x, y = self.position(place)
        with self._received_by_qt(times + len(modifiers)), self.screen.held(*modifiers):
            self.screen.click(x, y, button, times)

    def drag(self, start: Place, end: Place) -> None:
        """Drag with the left button."""
        with self._received_by_qt(1):
            self.screen.drag(self.position(start), self.position(end))

    def wheel(self, place: Place, notches: int) -> None:
        """Turn the wheel; positive notches scroll up."""
        self.screen.wheel(*self.position(place), notches)

    def key(self, *combinations: str) -> None:
        """Press keys, such as ``"n"`` or ``"ctrl+z"``, one after the other."""
        for combination in combinations:
            with self._received_by_qt(1):
                self.screen.key(combination)

    def type(self, text: str) -> None:
        """Type a text where the keyboard focus is."""
        with self._received_by_qt(len(text)):
            self.screen.type(text)

    def menu(self, *titles: str) -> None:
        """Click through the menu bar, title after title; a title may be shortened at its end."""
        for title in titles:
            self.until(f"menu_item({title!r})", 20)
            self.click(f"menu_item({title!r})")

    def choose(self, combo_box: str, text: str) -> None:
        """Choose the entry of a combo box (an expression) that begins with ``text``."""
        self.click(combo_box)
        view = f"({combo_box}).view()"
        row = f"({combo_box}).findText({text!r}, QtCore.Qt.MatchFlag.MatchStartsWith)"
        self.until(f"{view}.isVisible()", 20)
        self.click(f"item({view}, {row})")
        self.until(f"not {view}.isVisible()", 20)

    def open_tab(self, text: str) -> None:
        """Click the tab that begins with ``text``."""
        self._scroll_to(f"tab_bar({text!r})")
        self.click(f"tab({text!r})")

    def position(self, place: Place) -> tuple[int, int]:
        """Screen position of a place, see `click`."""
        if not isinstance(place, str):
            return round(place[0]), round(place[1])
        if self.value(f"isinstance({place}, QWidget)"):
            self._scroll_to(place)
            place = f"centre({place})"
        x, y = self.value(place)
        return x, y

    def picture(self, path: Path | str, seconds: float = 5) -> Path:
        """Save a picture of the screen, once it stands still (or after some seconds)."""
        end, last = time.monotonic() + seconds, self.screen.picture()
        while time.monotonic() < end:
            time.sleep(0.2)
            before, last = last, self.screen.picture()
            if before.tobytes() == last.tobytes():
                break
        last.save(path)
        return Path(path)

    def step(self, name: str) -> None:
        """Name what follows, in `gaps`."""
        self.value(f"setattr(gaps, 'step', {name!r})")

    def gaps(self) -> list[Gap]:
        """Gaps of the event loop above 0.1 s so far."""
        return [Gap(*gap) for gap in self.value("gaps.gaps")]

    def errors(self) -> list[str]:
        """Errors and warnings that napari has shown so far."""
        return self.value("errors")

    def log(self) -> str:
        """What the window's process wrote to its terminal."""
        return (self.home / "window.log").read_text("utf-8", "replace")

    def wait_closed(self, seconds: float = 30) -> None:
        """Wait until the window's process has ended, after its user closed it."""
        self._process.wait(seconds)

    def _scroll_to(self, widget: str) -> None:
        for _ in range(_MOST_SCROLLS):
            turn = self.value(f"scroll({widget})")
            if turn is None:
                return
            x, y, direction = turn
            with self._received_by_qt(1):
                self.screen.wheel(x, y, direction)
        raise LookupError(f"{widget} does not come into view.")

    @contextlib.contextmanager
    def _received_by_qt(self, releases: int) -> Iterator[None]:
        """Wait until Qt has got so many more releases of keys or buttons.

        Only so can a test say that nothing happened. Each release of a popup's grab counts too.
        """
        before = self.value("input.releases")
        yield
        try:
            self.until(f"input.releases >= {before + releases}", 20)
        except ConnectionError:
            self.wait_closed()  # closing the window was what the user asked for

    def _ask(self, code: str, is_expression: bool, seconds: float) -> str:
        request = {"code": code, "is_expression": is_expression}
        try:
            self._link.sendall(json.dumps(request).encode() + b"\n")
        except ConnectionError as error:
            raise self._ended() from error
        answer = self._receive(seconds)
        if "error" in answer:
            raise WindowError(answer["error"])
        return answer["value"]

    def _receive(self, seconds: float) -> dict[str, str]:
        end = time.monotonic() + seconds
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._link], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"No answer in {seconds} s. {self._where_it_hangs()}")
            received = self._link.recv(1 << 16)
            if not received:
                raise self._ended()
            self._received += received
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)

    def _ended(self) -> ConnectionError:
        return ConnectionError(f"The window's process has ended.\n{self.log()[-5000:]}")

    def _where_it_hangs(self) -> str:
        self._process.send_signal(signal.SIGUSR1)  # Python writes its stacks to the log
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return self.log()[-5000:]

    def _end(self) -> None:
        """End the window's process and its children, and no others."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        paths = [str(_TESTS), *(path for path in sys.path if path)]
        return inherited | {
            "DISPLAY": self.screen.name,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "QT_QPA_PLATFORM": "xcb",
            "QT_SCALE_FACTOR": str(self.scale),
            "PYTHONPATH": os.pathsep.join(paths),
            "NO_AT_BRIDGE": "1",
        }
