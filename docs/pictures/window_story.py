r"""Go through all steps of the window and save a picture of each.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" \
        python docs/pictures/window_story.py docs/images

Opens the packaged sample or an image of yours, classifies, explains, clicks cells, corrects some
calls, trains, and explains again with the new model. The true classes of the sample are known, so
every wrong call is corrected. In an image of yours the two cells with the smallest margin get the
class of the runner-up, in place of what a person would say.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import napari
import numpy as np
import pandas as pd
import typer
from napari_cellcam.state.cell_card import brief_card
from napari_cellcam.state.project import Project
from qtpy.QtWidgets import QApplication, QTabWidget

from cellcam import open_stack, samples


def main(
    out: Path,
    image: Annotated[Path | None, typer.Option(help="Instead of the sample.")] = None,
    model: Annotated[Path | None, typer.Option(help="Instead of the packaged one.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="MODEL_CHANNEL=LAYER")] = None,
    cell: Annotated[str | None, typer.Option(help="Class of the cell that is shown.")] = None,
    name: str = "window",
) -> None:
    """Run all steps; the pictures are NAME_1.png, NAME_2.png, ..."""
    story = Story(out, name)
    story.open(image, model, channel or [])
    story.classify()
    story.explain()
    story.click_all()
    story.show(cell or ("mitotic" if image is None else story.widget.session.table["class"][0]))
    story.picture()
    truth = None if image else _true_classes(story.widget.session.table)
    with tempfile.TemporaryDirectory() as folder:
        story.begin_project(Path(folder))
        corrected = story.correct(truth)
        story.train()
        story.explain()
        story.look_again(corrected, truth)
    story.viewer.close()


class Story:
    """The window, step by step.

    Attributes
    ----------
    viewer, widget : napari's viewer and the dock widget
    """

    def __init__(self, out: Path, name: str) -> None:
        self._out, self._name, self._number = out, name, 0
        self.viewer = napari.Viewer(show=False)
        self.viewer.window.show()
        _, self.widget = self.viewer.window.add_plugin_dock_widget(
            "cellcam", "Classify and explain cells"
        )
        self._tabs = self.widget.findChild(QTabWidget)

    def open(self, image: Path | None, model: Path | None, channels: list[str]) -> None:
        """Open the image and set model and channels."""
        if image is None:
            self.viewer.open_sample("cellcam", "demo_stack")
        else:
            self.viewer.open(image, plugin="cellcam")
        if model is not None:
            self.widget.choices.choose_model(str(model))
        for pair in channels:
            model_channel, _, layer = pair.partition("=")
            self.widget.choices.sources[model_channel].setCurrentText(layer)
        _wait(lambda: False, 0.5)
        self.viewer.window.resize(1560, 960)
        _wait(lambda: "auto: " in self.widget.choices.device.itemText(0), 30)
        self.viewer.reset_view()
        self.widget.choices.preview.setChecked(True)
        _wait(lambda: self.widget.preview.layer is not None)
        self.picture()

    def classify(self) -> None:
        """Classify every cell."""
        self.widget.classify()
        seconds = self._done()
        print(f"classified in {seconds:.1f} s: {self.widget.status.text()}")
        self.picture()

    def explain(self) -> None:
        """Explain the call of every cell."""
        self.widget.explain()
        seconds = self._done()
        print(f"explained in {seconds:.1f} s: {self.widget.status.text()}")

    def click_all(self) -> None:
        """Go to each cell, 100 at most, and print how long its card takes."""
        brief, complete = [], []
        for row in range(min(100, len(self.widget.session.table))):
            started = time.perf_counter()
            self.widget.go_to_cell(row)
            QApplication.processEvents()
            brief.append(time.perf_counter() - started)
            self._done()
            QApplication.processEvents()
            complete.append(time.perf_counter() - started)
        for content, times in {"class": brief, "maps and shares": complete}.items():
            print(
                f"click to {content}, {len(times)} cells: median {np.median(times):.2f} s, "
                f"95 % {np.quantile(times, 0.95):.2f} s"
            )

    def show(self, name: str) -> None:
        """Go to the first cell of a class."""
        calls = self.widget.session.table["class"]
        self.widget.go_to_cell(int(calls.eq(name).idxmax()))
        self._done()

    def begin_project(self, folder: Path) -> None:
        """Keep corrections and models in a folder that is removed in the end."""
        self.widget._use_project(Project(folder))

    def correct(self, truth: list[str] | None) -> list[int]:
        """Give cells their true class: some of each, and all that were called wrongly."""
        session = self.widget.session
        if truth is None:
            rows = session.table["margin"].argsort()[:6].tolist()
            wanted = [brief_card(session, row).runner_up for row in rows]
        else:
            calls = session.table["class"]
            wrong = [row for row, name in enumerate(truth) if name != calls[row]]
            some = pd.Series(truth).groupby(truth).head(4).index.tolist()
            rows = list(dict.fromkeys([*wrong, *some]))
            wanted = [truth[row] for row in rows]
        for row, name in zip(rows, wanted, strict=True):
            self.widget.classes.assign(name, [row])
        print(f"gave {len(rows)} of {len(session.table)} cells their true class")
        return rows

    def train(self) -> None:
        """Train on the corrections, compare, and use the new model."""
        self._tabs.setCurrentIndex(1)
        before, training = self.widget.session, self.widget.training
        training.train()
        _wait(lambda: len(training.curve.values) > 20, 240)
        self.picture()
        waited = _wait(lambda: training.comparison is not None, 900)
        if training.comparison is None:
            sys.exit(f"No new model: {self.widget.status.text()}")
        print(f"trained in {waited:.0f} s more: {training.comparison.text()}")
        self.picture()
        training.use_button.click()
        _wait(lambda: self.widget.session not in (before, None), 120)
        self._done()

    def look_again(self, corrected: list[int], truth: list[str] | None) -> None:
        """Show a corrected cell, classified and explained by the new model."""
        calls = self.widget.session.table["class"]
        if truth is not None:
            right = sum(a == b for a, b in zip(truth, calls, strict=True))
            print(f"the new model calls {right} of {len(truth)} cells rightly (it saw them)")
        self._tabs.setCurrentIndex(0)
        self.widget.go_to_cell(corrected[0])
        self._done()
        self.widget.verticalScrollBar().setValue(0)
        self.picture()

    def picture(self) -> None:
        """Save a screenshot of the window."""
        self._number += 1
        _wait(lambda: False, 0.7)
        path = self._out / f"{self._name}_{self._number}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)

    def _done(self) -> float:
        return _wait(lambda: not self.widget.busy)


def _wait(condition: Callable[[], object], seconds: float = 120) -> float:
    """Process events until ``condition()`` holds; return the seconds it took."""
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
    typer.run(main)
