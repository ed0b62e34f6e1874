"""From nothing to a corrected classifier, by hand: no model, no pixel size, no line of code.

A real pointer and real keys, see `support.real_window`. With the environment variable
CELLCAM_PICTURES, screenshots of the steps are written to that folder: the pictures of
docs/start.md and docs/howto/correct.md.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.simulated.fields import SimulatedField, simulate_field
from support.dock_by_hand import (
    DOCK,
    TABLE,
    assert_fits,
    cell_on_card,
    classify,
    click_at,
    column,
    explain,
    open_dock,
    open_file,
    press,
    wait_for_card,
)
from support.real_window import RealWindow

pytestmark = [
    pytest.mark.gui,
    pytest.mark.timeout(1500),  # two trainings of four small networks, maybe on a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="the pointer is that of an X server"),
]

IMAGE, SIZE = "field_11.tif", 640
CLASSES = ("mitotic", "resting")
N_EACH = 10


@pytest.fixture(scope="module")
def field() -> SimulatedField:
    """80 cells, 16 of them mitotic."""
    return simulate_field(11, size=SIZE, n_cells=80, n_planes=1)


@pytest.fixture
def window(tmp_path: Path, field: SimulatedField) -> Iterator[RealWindow]:
    """The window, with a stack of two stains in its home folder that states no pixel size."""
    tifffile.imwrite(
        tmp_path / IMAGE,
        field.pixels[:2, 0],
        photometric="minisblack",
        planarconfig="separate",
    )
    with RealWindow(size=(1280, 800), home=tmp_path) as window:
        yield window


class Story:
    """What the person does, in words of the person."""

    def __init__(self, window: RealWindow, field: SimulatedField) -> None:
        self.window, self.field = window, field

    def picture(self, name: str) -> None:
        """A screenshot, if somebody wants it."""
        if folder := os.environ.get("CELLCAM_PICTURES"):
            self.window.picture(Path(folder) / f"window_{name}.png")

    def cells_of(self, name: str) -> list[int]:
        """Cells that are clearly mitotic or not, and alone: no other nucleus touches them."""
        alone = [i for i in range(len(self.field.centres)) if self._nearest(i) > 44]
        is_mitotic = [self.field.classes[i] == "mitotic" for i in alone]
        return [
            i
            for i, mitotic in zip(alone, is_mitotic, strict=True)
            if mitotic == (name == CLASSES[0])
        ]

    def _nearest(self, cell: int) -> float:
        centres = self.field.centres
        distance = np.hypot(*(centres - centres[cell]).T)
        edge = min(*centres[cell], *(SIZE - centres[cell]))
        return float(min(np.sort(distance)[1], 3 * edge))

    def click(self, cell: int) -> None:
        """Click a cell where the person sees it: at the centre of its nucleus."""
        y, x = self.field.centres[cell]
        click_at(self.window, y, x)

    def give_classes(self) -> None:
        """Ten cells of each class by click and digit, in turns."""
        chosen = [self.cells_of(name)[:N_EACH] for name in CLASSES]
        for cells in zip(*chosen, strict=True):
            for key, cell in enumerate(cells, start=1):
                self.click(cell)
                self.window.key(str(key))

    def counts(self) -> dict[str, int]:
        """Corrected cells of each class, as the buttons say."""
        texts = self.window.value(
            f"[text_of(b) for b in {DOCK}.classes.findChildren(QPushButton) if b.isVisible()]"
        )
        found = [re.fullmatch(r"\d+ (\w+) \((\d+)\)", text) for text in texts]
        return {match[1]: int(match[2]) for match in found if match}

    def begin_classifier(self) -> None:
        window = self.window
        window.click("find(QPushButton, 'New...')")
        window.until("find('NewClassifierDialog')")
        for i, name in enumerate(("DNA", "tubulin")):
            window.click(f"find('NewClassifierDialog')._names[{i}]")
            window.key("ctrl+a")
            window.type(name)
        window.click("find('NewClassifierDialog')._classes")
        window.type(", ".join(CLASSES))
        self.picture("new")
        window.click("find(QPushButton, 'Find the cells')")
        window.until(f"{TABLE}.model().rowCount() > 70 and not {DOCK}.busy", 120)

    def train(self) -> str:
        """Train to the end; what the comparison says."""
        window = self.window
        window.step("train")
        window.open_tab("Train")
        window.click("find(QPushButton, 'Train')")
        window.until(f"'epoch' in text_of({DOCK}.training._phase)", 300)
        self.picture("training")
        window.until("find(QPushButton, 'Use the new model')", 900)
        return window.value(f"text_of({DOCK}.training._verdict)")


def test_a_first_classifier(window: RealWindow, field: SimulatedField) -> None:
    story = Story(window, field)
    open_file(window, window.home / IMAGE)
    open_dock(window)
    story.begin_classifier()
    window.click("find('QtViewerButtons').resetViewButton")

    window.step("give classes")
    story.give_classes()
    n = dict.fromkeys(CLASSES, N_EACH)
    assert story.counts() == n
    story.picture("classes")

    verdict = story.train()
    assert f"On your {sum(n.values())} cells the new model is right in" in verdict
    window.click("find(QPushButton, 'Use the new model')")
    window.until(f"{DOCK}.explain_button.isEnabled() and not {DOCK}.busy", 60)
    first_model = window.value(f"{DOCK}.choices.model_folder")
    assert Path(first_model).is_relative_to(window.home)

    explain(window)
    window.open_tab("The cell")
    window.step("click after explain")
    asked = story.cells_of(CLASSES[0])[0]
    story.click(asked)
    window.until(f"{DOCK}.card.shown is not None and not {DOCK}.busy", 30)
    label = cell_on_card(window)
    assert label is not None
    story.picture("evidence")

    window.step("correct")
    other = story.cells_of(CLASSES[1])[N_EACH]
    story.click(other)
    window.until(f"{DOCK}.card.shown.label != {label} and not {DOCK}.busy", 30)
    window.key("1")
    assert story.counts() == {**n, CLASSES[0]: n[CLASSES[0]] + 1}
    window.key("ctrl+z")
    assert story.counts() == n
    window.key("2")
    expected = {**n, CLASSES[1]: n[CLASSES[1]] + 1}
    assert story.counts() == expected

    verdict = story.train()
    assert "the old model in" in verdict
    assert f"it has learned from {sum(n.values())} of them" in verdict
    story.picture("comparison")
    assert_fits(window, DOCK)
    window.click("find(QPushButton, 'Keep the old model')")
    assert window.value(f"{DOCK}.choices.model_folder") == first_model
    assert window.errors() == []

    window.step("close")
    window.key("ctrl+q")
    window.until("find('ConfirmCloseDialog')", 20)
    window.click("find(QPushButton, 'Close')")
    window.wait_closed()

    with RealWindow(size=(1280, 800), home=window.home) as again:
        story = Story(again, field)
        open_dock(again)
        again.click("find(QPushButton, 'Project...')")
        again.until("find(QFileDialog)")
        (project,) = (again.home / "CellCam").iterdir()
        again.type(str(project))
        again.key("Return")
        again.until("len(viewer.layers) == 2", 60)
        again.until(f"{DOCK}.choices.model_folder == {first_model!r}", 20)
        classify(again)
        assert story.counts() == expected
        assert sorted(name for name in column(again, "true class") if name) == sorted(
            name for name, k in expected.items() for _ in range(k)
        )
        again.click("find('QtViewerButtons').resetViewButton")
        story.click(asked)
        wait_for_card(again, label)
        press(again, "Explain")
        assert again.errors() == []
