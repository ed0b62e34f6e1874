"""A virtual X screen: its pointer, its keys, keyboard focus, and pictures of it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image
from Xlib import XK, X
from Xlib.display import Display
from Xlib.error import CatchError, ConnectionClosedError, XError
from Xlib.ext import xtest

_STRIP = 128  # rows of a picture per request
_DRAG_STEPS = 12

# Keys by the names that Qt and napari print; all other names are X's own ("Return", "F5").
_KEY_NAMES = {
    "ctrl": "Control_L", "shift": "Shift_L", "alt": "Alt_L", "esc": "Escape", "enter": "Return",
    "backspace": "BackSpace", "del": "Delete", "up": "Up", "down": "Down", "left": "Left",
    "right": "Right", "tab": "Tab", "space": "space", "pgup": "Prior", "pgdown": "Next",
    "home": "Home", "end": "End",
}  # fmt: skip


class XScreen:
    """An Xvfb of its own, with a person's hands on it through the XTEST extension.

    There is no window manager. What a person would miss without it is keyboard focus: a new
    window gets it, and a window that is clicked (`_FocusKeeper`, `click`).

    Parameters
    ----------
    display : number of the display; None for the first that is free
    size : width and height in pixels
    """

    def __init__(self, size: tuple[int, int], display: int | None = None) -> None:
        self.size = size
        self._server, number = _start_xvfb(size, display)
        self.name = f":{number}"
        try:
            # Xvfb ends with its last client: after this line no Xvfb outlives its test.
            self._display = Display(self.name)
            self._root = self._display.screen().root
            self._focus = _FocusKeeper(self.name)
        except BaseException:
            self._server.kill()
            self._server.wait()
            raise

    def close(self) -> None:
        """End the display."""
        self._focus.stop()
        with contextlib.suppress(ConnectionClosedError, OSError):
            self._display.close()
        self._server.terminate()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self._fake(X.MotionNotify, x=round(x), y=round(y))
        self._display.sync()

    def click(self, x: float, y: float, button: int = 1, times: int = 1) -> None:
        """Click with the pointer; the window under it gets keyboard focus."""
        self.move(x, y)
        self._focus_under_pointer()
        for _ in range(times):
            self._fake(X.ButtonPress, button)
            self._fake(X.ButtonRelease, button)
        self._display.sync()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one point, move in steps, release at another."""
        self.move(*start)
        self._focus_under_pointer()
        self._fake(X.ButtonPress, 1)
        for i in range(1, _DRAG_STEPS + 1):
            x, y = (a + (b - a) * i / _DRAG_STEPS for a, b in zip(start, end, strict=True))
            self.move(x, y)
        self._fake(X.ButtonRelease, 1)
        self._display.sync()

    def wheel(self, x: float, y: float, notches: int) -> None:
        """Turn the wheel at a point; positive notches scroll up."""
        self.move(x, y)
        for _ in range(abs(notches)):
            button = 4 if notches > 0 else 5
            self._fake(X.ButtonPress, button)
            self._fake(X.ButtonRelease, button)
        self._display.sync()

    @contextlib.contextmanager
    def held(self, *names: str) -> Iterator[None]:
        """Hold keys down."""
        codes = [code for name in names for code in self._codes(_symbol(name))]
        for code in codes:
            self._fake(X.KeyPress, code)
        try:
            yield
        finally:
            for code in reversed(codes):
                self._fake(X.KeyRelease, code)
            self._display.sync()

    def key(self, combination: str) -> None:
        """Press keys together and release them: ``"n"``, ``"ctrl+shift+z"``, ``"Return"``."""
        names = combination.split("+") if len(combination) > 1 else [combination]
        with self.held(*names):
            pass

    def type(self, text: str) -> None:
        """Type characters of the US keyboard, one after the other."""
        for character in text:
            with self._held_symbol(_symbol(character)):
                pass

    def picture(self) -> Image.Image:
        """What the screen shows."""
        width, height = self.size
        strips = [
            self._root.get_image(0, y, width, min(_STRIP, height - y), X.ZPixmap, 0xFFFFFFFF).data
            for y in range(0, height, _STRIP)
        ]
        return Image.frombytes("RGB", self.size, b"".join(strips), "raw", "BGRX")

    @contextlib.contextmanager
    def _held_symbol(self, symbol: int) -> Iterator[None]:
        codes = self._codes(symbol)
        for code in codes:
            self._fake(X.KeyPress, code)
        yield
        for code in reversed(codes):
            self._fake(X.KeyRelease, code)
        self._display.sync()

    def _codes(self, symbol: int) -> list[int]:
        """Keys to hold for a symbol: its own, after Shift if it is the upper one of its key."""
        shift = self._display.keysym_to_keycode(XK.string_to_keysym("Shift_L"))
        levels = [(level, code) for code, level in self._display.keysym_to_keycodes(symbol)]
        if not levels or min(levels)[0] > 1:
            raise ValueError(f"The keyboard of {self.name} has no key for symbol {symbol:#x}.")
        level, code = min(levels)
        return [shift, code] if level else [code]

    def _fake(self, kind: int, detail: int = 0, **where: int) -> None:
        xtest.fake_input(self._display, kind, detail, **where)

    def _focus_under_pointer(self) -> None:
        window = self._root.query_pointer().child
        if window != X.NONE:
            _give_focus(window)
        self._display.sync()


class _FocusKeeper:
    """Gives keyboard focus to each new window, and to the topmost one when the last has gone.

    Pop-ups (menus, lists of combo boxes, tool tips) are left alone, as by a window manager: they
    ask to be (``override_redirect``), and Qt hands them the keys of the window that has focus.
    """

    def __init__(self, name: str) -> None:
        self._display = Display(name)
        self._root = self._display.screen().root
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask)
        self._display.sync()
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._keep, name="keyboard focus", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        os.write(self._woken, b".")
        self._thread.join(5)
        os.close(self._wake)
        os.close(self._woken)

    def _keep(self) -> None:
        with contextlib.suppress(ConnectionClosedError, OSError):
            while True:
                while self._display.pending_events():
                    self._handle(self._display.next_event())
                ready, _, _ = select.select([self._display, self._wake], [], [])
                if self._wake in ready:
                    break
            self._display.close()

    def _handle(self, event: Any) -> None:
        if event.type == X.MapNotify:
            _give_focus(event.window)
        elif event.type in (X.UnmapNotify, X.DestroyNotify):
            for window in reversed(self._root.query_tree().children):  # from the topmost down
                if _give_focus(window):
                    break
        self._display.sync()


def _give_focus(window: Any) -> bool:
    """Give a window keyboard focus, unless it is a pop-up or hidden; whether it was given."""
    gone = CatchError()  # a window may vanish between two requests
    try:
        attributes = window.get_attributes()
        if attributes.override_redirect or attributes.map_state != X.IsViewable:
            return False
        window.set_input_focus(X.RevertToParent, X.CurrentTime, onerror=gone)
    except XError:
        return False
    return True


def _symbol(name: str) -> int:
    """X's symbol of a key or a character."""
    if len(name) == 1:
        return ord(name)  # the symbols of Latin-1 are its characters
    symbol = XK.string_to_keysym(_KEY_NAMES.get(name.lower(), name))
    if symbol == X.NoSymbol:
        raise ValueError(f"There is no key called {name!r}.")
    return symbol


def _start_xvfb(size: tuple[int, int], display: int | None) -> tuple[subprocess.Popen[bytes], int]:
    """Start Xvfb and wait until it accepts clients; return it and its display's number."""
    if shutil.which("Xvfb") is None:
        raise FileNotFoundError("Xvfb is missing; `make test` installs or names it.")
    read, write = os.pipe()
    words: Sequence[str] = [
        "Xvfb", *([] if display is None else [f":{display}"]), "-displayfd", str(write),
        "-screen", "0", f"{size[0]}x{size[1]}x24", "-nolisten", "tcp", "-terminate",
    ]  # fmt: skip
    server = subprocess.Popen(
        words,
        pass_fds=[write],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl+C is for the test, which then ends it
    )
    os.close(write)
    try:
        with open(read, "rb") as pipe:
            ready, _, _ = select.select([pipe], [], [], 30)
            number = pipe.readline().strip() if ready else b""
        if not number:
            taken = "" if display is None else f" Is display {display} taken?"
            raise RuntimeError(f"Xvfb did not start.{taken}")
    except BaseException:
        server.kill()
        server.wait()
        raise
    return server, int(number)
