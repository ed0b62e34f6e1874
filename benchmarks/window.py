"""Response of the window: gaps in its event loop, time from click to card, start of napari.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python benchmarks/window.py
    ... --part first                                  # the first use in a new process
    ... --part files --files ../shared/data/tiff_zoo  # opens every file
    ... --part layers                                 # layers come and go, beside napari alone

5,082 cells: the demo's plane side by side in both directions, with its true cells. Everything is
measured in the real window, from outside the plugin.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from napari_cellcam.files import reader
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from cellcam import open_stack, samples

if TYPE_CHECKING:
    from napari_cellcam.explain_dock.explain_widget import ExplainWidget

_SIDE = 11  # times the demo's plane; 42 cells each
_CARDS = 100
_STARTS = 10
_TICK_MS = 5

# Without the plugin, cellcam is hidden from the list of installed packages; the rest is the same.
_START = """
import importlib.metadata, os, sys, time
began, listed = time.perf_counter(), importlib.metadata.distributions
without = {without}
importlib.metadata.distributions = lambda **how: (
    package for package in listed(**how)
    if not (without and package.metadata["Name"] == "cellcam")
)
import napari
viewer = napari.Viewer()
from qtpy.QtWidgets import QApplication
QApplication.processEvents()
from npe2 import PluginManager
known = [manifest.name for manifest in PluginManager.instance().iter_manifests()]
assert ("cellcam" in known) != without, known
print(time.perf_counter() - began, flush=True)
os._exit(0)  # the time to close is not measured
"""


class LoopWatch:
    """Times of the rounds of the event loop."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.timeout.connect(self._note)
        self._timer.start(_TICK_MS)
        self.times: list[float] = []

    def _note(self) -> None:
        self.times.append(time.perf_counter())

    def print_gaps(self, name: str) -> None:
        """Print the longest gaps between rounds since the last call."""
        gaps = np.sort(np.diff(self.times))
        worst = ", ".join(f"{gap:.3f}" for gap in gaps[:-6:-1])
        print(f"{name}: {np.ptp(self.times):.1f} s, longest gaps {worst} s", flush=True)
        self.restart()

    def restart(self) -> None:
        """Forget the rounds until now. A gap may begin at once, before the next round."""
        self.times[:] = [time.perf_counter()]


def many_cells() -> tuple[NDArray[np.generic], NDArray[np.int32]]:
    """Three stains (C, Y, X) with thousands of cells, and their labels (Y, X)."""
    stack = open_stack(samples.sample_path(samples.DEMO_STACK))
    labels = open_stack(samples.sample_path(samples.DEMO_LABELS)).field()[0]
    shifts = np.arange(_SIDE**2).reshape(_SIDE, _SIDE) * int(labels.max())
    many = np.tile(labels, (_SIDE, _SIDE)).astype(np.int32)
    many += np.where(many > 0, np.kron(shifts, np.ones_like(labels)), 0)
    return np.tile(stack.field(0, "max"), (1, _SIDE, _SIDE)), many


def wait(condition: Callable[[], object]) -> None:
    """Process the window's events until a condition holds."""
    while not condition():
        QApplication.processEvents()
        time.sleep(0.001)


def settle(seconds: float = 1.0) -> None:
    """Process the window's events until nothing is left to draw."""
    end = time.perf_counter() + seconds
    wait(lambda: time.perf_counter() > end)


def first_use() -> None:
    """Print the gaps when a new process opens the dock and a file, classifies, clicks, explains."""
    viewer, watch = napari.Viewer(), LoopWatch()
    settle(3)
    watch.restart()
    docks: list[ExplainWidget] = []

    def step(name: str, action: Callable[[], object]) -> None:
        QTimer.singleShot(0, action)
        settle()
        wait(lambda: not any(dock.busy for dock in docks))
        settle()
        watch.print_gaps(f"first use, {name}")

    def open_dock() -> None:
        _, dock = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
        docks.append(dock)

    step("opening the dock", open_dock)
    path = str(samples.sample_path(samples.DEMO_STACK))
    step("opening a file", lambda: viewer.open(path, plugin="cellcam"))
    step("classifying", docks[0].classify)
    step("clicking a cell", lambda: docks[0].go_to_cell(5))
    step("explaining", docks[0].explain)
    step("clicking another", lambda: docks[0].go_to_cell(9))
    viewer.close()


def open_files(folder: Path) -> None:
    """Open each TIFF below a folder and remove it, without the dock and with it; print the gaps."""
    viewer, watch = napari.Viewer(), LoopWatch()
    # Instead of the dialog for facts that a file does not state: it is left out.
    reader._read_with_asked_facts = lambda *_: [(None,)]  # type: ignore[assignment]
    paths = sorted(folder.rglob("*.tif*"))

    def gaps() -> dict[str, float]:
        settle(3)
        found = {}
        for path in paths:
            watch.restart()
            QTimer.singleShot(0, partial(open_one, viewer, str(path)))
            settle(0.5)
            if viewer.layers:
                found[path.name] = float(np.diff(watch.times).max())
            viewer.layers.clear()
            settle(0.5)
        return found

    gaps()  # the first time napari makes the controls of a kind of layers
    alone = gaps()
    viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
    ours = gaps()
    for name, found in {"without the dock": alone, "with it": ours}.items():
        above = sum(gap > 0.2 for gap in found.values())
        print(f"{len(found)} files opened {name}: {above} above 0.2 s")
    print("longest gaps with the dock, and without it:")
    for name in sorted(ours, key=ours.__getitem__, reverse=True)[:10]:
        print(f"{ours[name]:.3f} s {alone[name]:.3f} s {name}")
    viewer.close()


def open_one(viewer: napari.Viewer, path: str) -> None:
    """Open a file; those that cannot be opened are left out."""
    with suppress(Exception):
        viewer.open(path, plugin="cellcam")


def layers() -> None:
    """Print the longest gaps when layers come and go: napari alone, then with results."""
    viewer, watch = napari.Viewer(), LoopWatch()
    path = str(samples.sample_path(samples.DEMO_STACK))
    settle(3)

    def gap(action: Callable[[], object]) -> float:
        watch.restart()
        QTimer.singleShot(0, action)
        settle()
        return float(np.diff(watch.times).max())

    def come_and_go(add_results: Callable[[], object]) -> dict[str, float]:
        opening = gap(lambda: viewer.open(path, plugin="cellcam"))
        add_results()
        settle()
        n = len(viewer.layers)
        removing = gap(lambda: viewer.layers.remove(viewer.layers[0]))
        viewer.layers.clear()
        settle()
        viewer.open(path, plugin="cellcam")
        add_results()
        settle()
        clearing = gap(viewer.layers.clear)
        return {"opening 3": opening, f"removing 1 of {n}": removing, f"clearing {n}": clearing}

    def add_layers_alike() -> None:
        images = [layer.data for layer in viewer.layers]
        viewer.add_labels(np.zeros(images[0].shape[-2:], np.int32))
        for image in images[:2]:
            viewer.add_image(image)
        viewer.add_vectors(np.zeros((3, 2, 2)))

    for _ in range(2):  # the first time napari makes the controls of a kind of layers
        alone = come_and_go(add_layers_alike)
    _, dock = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")

    def add_results() -> None:
        for action in (dock.classify, dock.explain):
            action()
            wait(lambda: not dock.busy)

    for _ in range(2):
        ours = come_and_go(add_results)
    for name, times in {"napari alone": alone, "with results": ours}.items():
        print(name, ", ".join(f"{step} layers {gap:.3f} s" for step, gap in times.items()))
    viewer.close()


def in_the_window(device: str) -> None:
    """Classify, explain and click cells; print the gaps in the event loop."""
    viewer = napari.Viewer()
    stack = open_stack(samples.sample_path(samples.DEMO_STACK))
    pixels, labels = many_cells()
    place = {"scale": stack.pixel_size_um[1:], "units": ("um", "um"), "axis_labels": ("y", "x")}
    for image, name in zip(pixels, stack.channels, strict=True):
        viewer.add_image(image, name=name, blending="additive", **place)
    viewer.add_labels(labels, name="true cells", visible=False, **place)
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
    widget.choices.cells.setCurrentText("true cells")
    device_choice = widget.choices.device
    device_choice.setCurrentIndex(max(0, device_choice.findData(device)))
    settle()
    watch = LoopWatch()
    widget.classify()
    wait(lambda: not widget.busy)
    settle()
    watch.print_gaps(f"classifying {len(widget.session.table)} cells")
    cards(widget, "before the cells are explained")
    watch.print_gaps("clicking cells")
    widget.explain()
    wait(lambda: not widget.busy)
    settle()
    watch.print_gaps(f"explaining {len(widget.session.table)} cells")
    print(widget.status.text())
    cards(widget, "after")
    viewer.close()


def cards(widget: ExplainWidget, when: str) -> None:
    """Click cells all over the table and print the times to their cards."""
    brief, why, complete = [], [], []
    for row in np.linspace(0, len(widget.session.table) - 1, _CARDS).astype(int).tolist():
        began = time.perf_counter()
        widget.go_to_cell(row)
        QApplication.processEvents()
        brief.append(time.perf_counter() - began)
        wait(lambda: widget.card.shown.difference is not None)
        QApplication.processEvents()
        why.append(time.perf_counter() - began)
        wait(lambda: not widget.busy)
        QApplication.processEvents()
        complete.append(time.perf_counter() - began)
    for content, times in {
        "class": brief,
        "difference map": why,
        "complete card": complete,
    }.items():
        print(
            f"click to {content}, {when}: median {np.median(times):.3f} s, "
            f"95 % {np.quantile(times, 0.95):.3f} s"
        )


def starts() -> None:
    """Print the time to napari's window, with and without the plugin."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(_STARTS):
        for without, seconds in times.items():
            done = subprocess.run(
                [sys.executable, "-c", _START.format(without=without)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            seconds.append(float(done.stdout.split()[-1]))
    for without, seconds in times.items():
        name = "without" if without else "with"
        print(
            f"start {name} the plugin: median {np.median(seconds):.3f} s, "
            f"quickest {min(seconds):.3f} s"
        )
    print(f"longer by {1000 * np.median(np.subtract(times[False], times[True])):.0f} ms, median")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--part", choices=["all", "first", "files", "layers", "window", "starts"], default="all"
    )
    parser.add_argument("--files", type=Path, help="folder of TIFFs to open, with --part files")
    given = parser.parse_args()
    if given.part in ("all", "first"):
        first_use()
    if given.part == "files":
        open_files(given.files)
    if given.part in ("all", "layers"):
        layers()
    if given.part in ("all", "window"):
        in_the_window(given.device)
    if given.part in ("all", "starts"):
        starts()
