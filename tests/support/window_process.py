"""The process of `support.real_window`: napari, and the end of a socket that looks into it.

    python -m support.window_process SOCKET WIDTH HEIGHT THEME

SOCKET is an inherited file descriptor. Requests and answers are JSON, one a line. When the other
end closes, whatever the reason, this process ends with its children.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import IO, Any

import napari
import numpy as np
from napari.utils.notifications import notification_manager
from qtpy import QtCore, QtGui, QtWidgets

_BEAT_MS = 10
_GAP_S = 0.1
_SAMPLE_S = 0.02  # between looks at what the GUI thread does in a gap
_FRAMES = 3
# XCB: releases of keys; generic events of XInput 2, and among them releases of buttons.
_KEY_RELEASE, _GENERIC, _XI_BUTTON_RELEASE = 3, 35, 5


class EventLoopGaps:
    """Gaps between the beats of a timer in the GUI thread.

    Attributes
    ----------
    step : what the test does at present; written with each gap
    gaps : of each gap above 0.1 s: its step, seconds, seconds of computing in the GUI thread
        (without those in which other processes had the core), and where the thread was
    """

    def __init__(self) -> None:
        self.step = "start"
        self.gaps: list[tuple[str, float, float, str]] = []
        self._where: Counter[str] = Counter()
        self._gui_thread = threading.get_ident()
        self._beat_at, self._cpu_at = time.perf_counter(), time.thread_time()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(_BEAT_MS)
        threading.Thread(target=self._watch, daemon=True).start()

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        if now - self._beat_at > _GAP_S:
            where = "; ".join(f"{n}x {place}" for place, n in self._where.most_common(3))
            self.gaps.append(
                (self.step, round(now - self._beat_at, 3), round(cpu - self._cpu_at, 3), where)
            )
        self._where.clear()
        self._beat_at, self._cpu_at = now, cpu

    def _watch(self) -> None:
        with tempfile.TemporaryFile() as file:
            while True:
                time.sleep(_SAMPLE_S)
                if time.perf_counter() - self._beat_at > _GAP_S / 2:
                    self._where[self._place(file)] += 1

    def _place(self, file: IO[bytes]) -> str:
        """The innermost functions of the GUI thread, and the innermost of this project's.

        Written by `faulthandler`, which keeps no reference to a frame: a reference would keep the
        painter of a ``paintEvent`` alive beyond its end, and Qt does not survive that.
        """
        file.seek(0)
        file.truncate()
        faulthandler.dump_traceback(file)
        file.seek(0)
        threads = file.read().decode("utf-8", "replace").split("\n\n")
        stack = next((t for t in threads if f"{self._gui_thread:#018x}" in t), "")
        frames = re.findall(r'File "(.*)", line (\d+) in', stack)
        names = [f"{os.path.basename(name)}:{line}" for name, line in frames]
        own = [short for (name, _), short in zip(frames, names, strict=True) if "cellcam" in name]
        place = " < ".join(names[:_FRAMES])
        return place if not own or own[0] in names[:_FRAMES] else f"{place} < ... {own[0]}"


class InputCounter(QtCore.QAbstractNativeEventFilter):
    """Counts the releases of keys and buttons that Qt got from the X server."""

    def __init__(self) -> None:
        super().__init__()
        self.releases = 0

    def nativeEventFilter(self, kind: Any, message: Any) -> tuple[bool, int]:  # noqa: N802
        if bytes(kind) == b"xcb_generic_event_t":
            event = (ctypes.c_uint8 * 10).from_address(int(message))
            code = event[0] & 0x7F
            wheel_or_button = code == _GENERIC and event[8] + 256 * event[9] == _XI_BUTTON_RELEASE
            self.releases += code == _KEY_RELEASE or wheel_or_button
        return False, 0


class Names:
    """What the code of a test finds at hand, beside Qt's widgets; positions are screen pixels."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.main = viewer.window._qt_window
        self.errors: list[str] = []
        self._types: dict[str, type] = {}
        notification_manager.notification_ready.connect(self._note)

    def _note(self, notification: Any) -> None:
        if str(notification.severity.value) in ("error", "warning"):
            self.errors.append(str(notification.message))
            if (error := getattr(notification, "exception", None)) is not None:
                traceback.print_exception(error)  # into the log of the test

    def find_all(self, kind: type | str = QtWidgets.QWidget, text: str = "") -> list[Any]:
        """Visible widgets of a class (or of a class's name) whose text begins with ``text``.

        Those whose whole text it is come first.
        """
        kind = self._type_called(kind) if isinstance(kind, str) else kind
        windows = [w for w in QtWidgets.QApplication.topLevelWidgets() if w.isVisible()]
        found = [
            widget
            for window in windows
            for widget in [window, *window.findChildren(kind)]
            if isinstance(widget, kind) and widget.isVisible() and text_of(widget).startswith(text)
        ]
        found = list(dict.fromkeys(found))  # a dialog is a window and a child
        return sorted(found, key=lambda widget: text_of(widget) != text)

    def _type_called(self, name: str) -> type:
        """Type of a widget by its name; once it is known, Qt searches faster than Python."""
        if name not in self._types:
            for widget in QtWidgets.QApplication.allWidgets():
                self._types |= {base.__name__: base for base in type(widget).__mro__}
        if name not in self._types:
            raise LookupError(f"There is no {name} yet.")
        return self._types[name]

    def find(self, kind: type | str = QtWidgets.QWidget, text: str = "") -> Any:
        """The first of `find_all`."""
        found = self.find_all(kind, text)
        if not found:
            raise LookupError(f"No visible {getattr(kind, '__name__', kind)} begins with {text!r}.")
        return found[0]

    def centre(self, widget: Any) -> tuple[int, int]:
        """Centre of the visible part of a widget.

        Raises
        ------
        LookupError
            If another widget lies there, or none of it is visible.
        """
        region = widget.visibleRegion().boundingRect()
        if region.isEmpty():
            raise LookupError(f"{_described(widget)} is not on the screen.")
        point = widget.mapToGlobal(region.center())
        top = QtWidgets.QApplication.widgetAt(point)
        if top is not widget and not (top and widget.isAncestorOf(top)):
            raise LookupError(f"{_described(top)} lies over {_described(widget)}.")
        return self.pixels(point)

    def pixels(self, point: Any) -> tuple[int, int]:
        """Screen pixels of a point in Qt's units."""
        ratio = self.main.devicePixelRatioF()
        return round(point.x() * ratio), round(point.y() * ratio)

    def scroll(self, widget: Any) -> tuple[int, int, int] | None:
        """Where to turn the wheel, and how (+1 up, -1 down), to see all of a widget; None: it is.

        The place is the scroll bar: elsewhere a number or a choice would take the wheel.
        """
        area = widget.parentWidget()
        while area is not None and not isinstance(area, QtWidgets.QScrollArea):
            area = area.parentWidget()
        if area is None or area.widget() is None or not area.widget().isAncestorOf(widget):
            return None
        view, bar = area.viewport(), area.verticalScrollBar()
        top = widget.mapTo(view, QtCore.QPoint(0, 0)).y()
        bottom = top + min(widget.height(), view.height())
        if bar.isVisible() and top < 0 and bar.value() > bar.minimum():
            return (*self.centre(bar), 1)
        if bar.isVisible() and bottom > view.height() and bar.value() < bar.maximum():
            return (*self.centre(bar), -1)
        return None

    def item(self, view: Any, row: int, column: int = 0) -> tuple[int, int]:
        """Centre of an entry of a list or table."""
        rectangle = view.visualRect(view.model().index(row, column))
        return self._inside(view.viewport(), rectangle)

    def heading(self, table: Any, name: str) -> tuple[int, int]:
        """Centre of a column's heading."""
        header, model = table.horizontalHeader(), table.model()
        across = QtCore.Qt.Orientation.Horizontal
        names = [model.headerData(i, across) for i in range(model.columnCount())]
        column = names.index(name)
        left, width = header.sectionViewportPosition(column), header.sectionSize(column)
        rectangle = QtCore.QRect(left, 0, width, header.height())
        return self._inside(header.viewport(), rectangle)

    def tab(self, text: str) -> tuple[int, int]:
        """Centre of a tab."""
        bar = self.tab_bar(text)
        texts = [_plain(bar.tabText(index)) for index in range(bar.count())]
        index = next(i for i, shown in enumerate(texts) if shown.startswith(text))
        return self._inside(bar, bar.tabRect(index))

    def tab_bar(self, text: str) -> Any:
        """The tabs, one of which begins with ``text``."""
        for bar in self.find_all(QtWidgets.QTabBar):
            if any(_plain(bar.tabText(i)).startswith(text) for i in range(bar.count())):
                return bar
        raise LookupError(f"No visible tab begins with {text!r}.")

    def menu_item(self, text: str) -> tuple[int, int] | None:
        """Centre of an entry in an open menu, or else in the menu bar; None: not there yet."""
        menus = [w for w in QtWidgets.QApplication.topLevelWidgets() if _is_open_menu(w)]
        newest = QtWidgets.QApplication.activePopupWidget()
        menus.sort(key=lambda menu: menu is not newest)
        for menu in [*menus, self.main.menuBar()]:
            for action in menu.actions():
                if action.isVisible() and _plain(action.text()).startswith(text):
                    return self._inside(menu, menu.actionGeometry(action))
        return None

    def world(self, y: float, x: float) -> tuple[int, int]:
        """Screen position of world coordinates (y, x) on the 2-D canvas.

        Raises
        ------
        LookupError
            If they are out of view, or something lies over the canvas there.
        """
        canvas = self.viewer.window._qt_viewer.canvas
        to_canvas = canvas.view.transform * canvas.view.scene.transform
        left, top = to_canvas.map([x, y])[:2]
        place = QtCore.QRect(round(left), round(top), 1, 1)
        return self._inside(canvas.native, place)

    def pixel(self, layer: Any, *position: float) -> tuple[int, int]:
        """Screen position of a pixel (..., y, x) of a layer."""
        return self.world(*layer.data_to_world(position)[-2:])

    def inside_label(self, layer: Any, label: int) -> tuple[int, int]:
        """Screen position of the pixel of a label that lies deepest inside it."""
        from scipy import ndimage

        data = layer.data[0] if layer.multiscale else layer.data
        plane = np.asarray(data[tuple(self.viewer.dims.current_step[: data.ndim - 2])])
        depth = ndimage.distance_transform_edt(np.pad(plane == label, 1))[1:-1, 1:-1]
        if not depth.any():
            raise LookupError(f"Label {label} is not in this plane of {layer.name}.")
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        return self.pixel(layer, *self.viewer.dims.current_step[: data.ndim - 2], y, x)

    def _inside(self, widget: Any, rectangle: Any) -> tuple[int, int]:
        seen = rectangle.intersected(widget.rect())
        if seen.isEmpty():
            raise LookupError(f"Not in the visible part of {_described(widget)}.")
        point = widget.mapToGlobal(seen.center())
        top = QtWidgets.QApplication.widgetAt(point)
        if top is not widget:
            raise LookupError(f"{_described(top)} lies over {_described(widget)}.")
        return self.pixels(point)


def text_of(widget: Any) -> str:
    """What a person reads on a widget."""
    for name in ("text", "currentText", "title", "toPlainText", "windowTitle"):
        read = getattr(widget, name, None)
        if callable(read):
            with contextlib.suppress(TypeError):
                if text := _plain(str(read())):
                    return text
    return ""


def _plain(text: str) -> str:
    return text.replace("&", "").split("\t")[0]


def _is_open_menu(widget: Any) -> bool:
    return isinstance(widget, QtWidgets.QMenu) and widget.isVisible()


def _described(widget: Any) -> str:
    return f"{type(widget).__name__} {text_of(widget)!r}" if widget is not None else "nothing"


class Answers:
    """Runs the code that comes through the socket, in the event loop: in dialogs too."""

    def __init__(self, link: socket.socket, names: dict[str, Any]) -> None:
        self._link, self._names, self._received = link, names, b""
        reading = QtCore.QSocketNotifier.Type.Read
        self._notifier = QtCore.QSocketNotifier(link.fileno(), reading)
        self._notifier.activated.connect(self._read)

    def send(self, **answer: Any) -> None:
        self._link.sendall(json.dumps(answer).encode() + b"\n")

    def _read(self) -> None:
        received = self._link.recv(1 << 16)
        if not received:
            os.killpg(0, signal.SIGKILL)
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            self.send(**self._answer(**json.loads(line)))

    def _answer(self, code: str, is_expression: bool) -> dict[str, str]:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                if is_expression:
                    return {"value": repr(eval(code, self._names))}
                exec(code, self._names)
        except Exception:  # noqa: BLE001 - the test is told
            return {"error": printed.getvalue() + traceback.format_exc()}
        return {"value": printed.getvalue()}


def main(descriptor: str, width: str, height: str, theme: str) -> None:
    """Open napari's window over the whole screen and run its event loop."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # a test that waits in vain asks where it hangs
    link = socket.socket(fileno=int(descriptor))
    viewer = napari.Viewer(show=False)
    viewer.theme = theme
    viewer.window.show()
    names, gaps, counter = Names(viewer), EventLoopGaps(), InputCounter()
    QtWidgets.QApplication.instance().installNativeEventFilter(counter)
    ratio = names.main.devicePixelRatioF()
    names.main.move(0, 0)
    names.main.resize(int(int(width) / ratio), int(int(height) / ratio))
    at_hand: dict[str, Any] = {"gaps": gaps, "input": counter, "np": np, "QtCore": QtCore}
    for module in (QtWidgets, QtGui):
        at_hand |= {name: getattr(module, name) for name in dir(module) if name.startswith("Q")}
    at_hand |= {name: getattr(names, name) for name in dir(names) if not name.startswith("_")}
    answers = Answers(link, at_hand | {"text_of": text_of})
    ready: Callable[[], None] = lambda: answers.send(value="ready")  # noqa: E731
    QtCore.QTimer.singleShot(0, ready)
    napari.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
