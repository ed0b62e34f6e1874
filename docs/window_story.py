"""Drives the real window through the whole story and saves a picture of each step.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/window_story.py docs/images

Opens the sample, classifies, explains, clicks a cell, gives cells their true class, trains, and
explains again with the new model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pandas as pd
from qtpy.QtWidgets import QApplication, QTabWidget

from cellcam import open_stack, samples


def main(out: Path) -> None:
    """Go through the story; pictures are named window_1.png and so on."""
    viewer = napari.Viewer(show=False)
    viewer.window.show()
    viewer.open_sample("cellcam", "demo_stack")
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
    _wait(lambda: False, 0.5)
    viewer.window.resize(1560, 960)
    _wait(lambda: False, 0.5)
    viewer.reset_view()
    number = 0

    def picture() -> None:
        nonlocal number
        number += 1
        _wait(lambda: False, 0.7)
        viewer.screenshot(str(out / f"window_{number}.png"), canvas_only=False, flash=False)

    def done() -> bool:
        return not widget.cancel_button.isEnabled()

    widget.classify()
    print(f"classified in {_wait(done):.1f} s: {widget.status.text()}")
    picture()
    widget.explain()
    print(f"explained in {_wait(done):.1f} s: {widget.status.text()}")
    times = []
    for row in range(len(widget.session.table)):
        widget.go_to_cell(row)
        times.append(_wait(done))
    print(
        f"click to card, {len(times)} cells: median {np.median(times):.2f} s, "
        f"95 % {np.quantile(times, 0.95):.2f} s"
    )
    mitotic = widget.session.table["class"].eq("mitotic").idxmax()
    widget.go_to_cell(int(mitotic))
    _wait(done)
    viewer.reset_view()
    picture()
    truth = _true_classes(widget.session.table)
    wrong = [row for row, name in enumerate(truth) if name != widget.session.table["class"][row]]
    for row in wrong:
        widget.training.give(truth[row], [row])
    print(f"corrected {len(wrong)} of {len(truth)} cells")
    tabs = widget.findChild(QTabWidget)
    tabs.setCurrentIndex(1)
    before = widget.session
    with tempfile.TemporaryDirectory() as folder:
        widget.training.train(folder)
        _wait(lambda: widget.training.curve.isVisible(), 120)
        _wait(lambda: len(widget.training.curve.values) > 20, 120)
        widget.verticalScrollBar().setValue(widget.verticalScrollBar().maximum())
        picture()
        print(f"trained in {_wait(lambda: widget.session is not before, 600):.0f} s")
        _wait(done)
        widget.explain()
        _wait(done)
        print(widget.status.text())
        right = [a == b for a, b in zip(truth, widget.session.table["class"], strict=True)]
        print(f"the new model calls {sum(right)} of {len(right)} cells rightly (it saw them)")
        tabs.setCurrentIndex(0)
        widget.go_to_cell(wrong[0])
        _wait(done)
        viewer.reset_view()
        widget.verticalScrollBar().setValue(0)
        picture()
    viewer.close()


def _wait(condition: Callable[[], bool], seconds: float = 120) -> float:
    """Let the window work until a condition holds; how long it took."""
    started = time.perf_counter()
    while not condition() and time.perf_counter() - started < seconds:
        QApplication.processEvents()
        time.sleep(0.002)
    return time.perf_counter() - started


def _true_classes(table: pd.DataFrame) -> list[str]:
    """Class of the simulated cell under each centroid."""
    truth = pd.read_csv(samples.sample_path(samples.DEMO_TRUTH)).set_index("label")["cls"]
    labels = open_stack(samples.sample_path(samples.DEMO_LABELS)).field()[0]
    at = np.round(table[["y", "x"]].to_numpy(float)).astype(int)
    return [truth[number] for number in labels[at[:, 0], at[:, 1]]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
