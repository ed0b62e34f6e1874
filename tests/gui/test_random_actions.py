"""Whatever a user does, in whatever order: what is shown is about what is chosen."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.result_layers import is_result
from qtpy.QtWidgets import QApplication
from support.window import PLACEMENT, Until, click, discs

pytestmark = pytest.mark.gui

N_ACTIONS = 25
CENTRES = {"two": [(20, 15), (20, 40)], "three": [(12, 12), (30, 30), (12, 50)]}


class Person:
    """Does things with the window, and remembers what is true.

    Attributes
    ----------
    truth : true classes given so far, by image and index of the disc
    """

    def __init__(self, widget: ExplainWidget, until: Until, models: list[Path], seed: int) -> None:
        self.widget, self.until, self.models = widget, until, models
        self.random = random.Random(seed)
        self.truth: dict[tuple[str, int], str] = {}
        self.history = [dict(self.truth)]
        self.log: list[str] = []
        widget.viewer.layers.clear()
        for name, centres in CENTRES.items():
            widget.viewer.add_image(discs((40, 60), centres), name=name, **PLACEMENT)
        self.look_at("two")

    def act(self) -> None:
        """Do one thing that is possible now."""
        actions: list[Callable[[], object]] = [
            self.choose_image,
            self.choose_model,
            self.classify,
            self.explain,
            self.correct,
            self.undo,
            self.click,
            self.rename,
            self.diameter,
            self.close_and_open,
            self.mix_channels,
            self.explain_otherwise,
            self.explain_one,
            self.compare,
        ]
        action = self.random.choice(actions)
        self.log.append(action.__name__)
        action()
        self.until(lambda: not self.widget.busy)
        for _ in range(5):
            QApplication.processEvents()

    def look_at(self, image: str) -> None:
        for choice in self.widget.choices.sources.values():
            choice.setCurrentText(next(n for n in self.names() if n.startswith(image)))

    def names(self) -> list[str]:
        return [layer.name for layer in self.widget.viewer.layers if not is_result(layer)]

    def choose_image(self) -> None:
        self.look_at(self.random.choice(["two", "three"]))

    def choose_model(self) -> None:
        chosen = {n: c.currentText() for n, c in self.widget.choices.sources.items()}
        self.widget.choices.choose_model(str(self.random.choice(self.models)))
        for name, layer in chosen.items():
            self.widget.choices.sources[name].setCurrentText(layer)

    def classify(self) -> None:
        if self.widget.classify_button.isEnabled():
            self.widget.classify_button.click()

    def explain(self) -> None:
        if self.widget.explain_button.isEnabled():
            self.widget.explain_button.click()

    def click(self) -> None:
        if self.widget.results is not None:
            y, x = self.random.choice(CENTRES[self.image()])
            click(self.widget, (y, x))

    def correct(self) -> None:
        if self.widget.session is None:
            return
        disc = self.random.randrange(len(CENTRES[self.image()]))
        row = int(self.widget.results.cells.data[CENTRES[self.image()][disc]]) - 1
        name = self.random.choice(["G1", "M"])
        self.widget.classes.assign(name, [row])
        self.truth = {**self.truth, (self.image(), disc): name}
        self.history.append(self.truth)

    def undo(self) -> None:
        if self.widget.classes.undo_button.isEnabled():
            self.widget.classes.undo_button.click()
            self.history.pop()
            self.truth = self.history[-1]

    def rename(self) -> None:
        layer = self.widget.viewer.layers[self.random.choice(self.names())]
        layer.name = f"{layer.name.split()[0]} {self.random.randrange(100)}"

    def diameter(self) -> None:
        self.widget.choices.diameter.setValue(self.random.choice([0, 5]))

    def close_and_open(self) -> None:
        """Close an image that nobody has corrected, and open it again: it is another layer."""
        free = [n for n in CENTRES if not any(image == n for image, _ in self.truth)]
        if not free or len(self.history) > 1:
            return
        name = self.random.choice(free)
        full = next(n for n in self.names() if n.startswith(name))
        self.widget.viewer.layers.remove(full)
        QApplication.processEvents()
        self.widget.viewer.add_image(discs((40, 60), CENTRES[name]), name=name, **PLACEMENT)
        self.look_at(name)

    def mix_channels(self) -> None:
        """Take one stain from another image: then no result is about this any more."""
        choice = next(iter(self.widget.choices.sources.values()))
        choice.setCurrentText(self.random.choice(self.names()))

    def explain_otherwise(self) -> None:
        """Choose another way to explain, or the model's again."""
        choice = self.random.choice([self.widget.explaining.formula, self.widget.explaining.layer])
        choice.setCurrentIndex(self.random.randrange(choice.count()))

    def explain_one(self) -> None:
        """Explain the selected cells only."""
        self.widget.selected_only.setChecked(True)
        self.explain()
        self.until(lambda: not self.widget.busy)
        self.widget.selected_only.setChecked(False)

    def compare(self) -> None:
        """Draw another kind of evidence, as far as there is any."""
        choice = self.widget.evidence.choice
        if self.widget.results is not None and self.widget.results.evidence is not None:
            choice.setCurrentIndex(self.random.randrange(choice.count()))

    def image(self) -> str:
        """Name of the image in which cells are found."""
        return self.widget.choices.sources["DNA"].currentText().split()[0]

    def check(self) -> None:
        """Compare what is shown with what is true."""
        widget, log = self.widget, self.log
        shown = [layer for layer in widget.viewer.layers if is_result(layer)]
        if widget.session is None:
            assert not shown, log
            assert widget.table.model().rowCount() == 0, log
            assert widget.card.shown is None, log
            assert not widget.explain_button.isEnabled(), log
            assert widget.classes.true_classes == {}, log
            return
        spec = widget.choices.model.spec
        assert set(widget.session.table["model"]) == {spec.weights_sha256[:12]}, log
        image = self.image()
        assert widget.session.stack.channels == ("DNA", "actin")
        for name, choice in widget.choices.sources.items():
            layer = widget.viewer.layers[choice.currentText()]
            index = widget.session.stack.channels.index(name)
            pixels = np.asarray(widget.session.stack.data[0, index, 0])
            np.testing.assert_array_equal(pixels, layer.data, str(log))
        numbers = [int(widget.results.cells.data[centre]) for centre in CENTRES[image]]
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), log
        assert widget.table.model().rowCount() == len(numbers), log
        assert widget.results.cells in shown, log
        expected = {numbers[disc] - 1: name for (i, disc), name in self.truth.items() if i == image}
        assert widget.classes.true_classes == expected, log
        if widget.card.shown is not None:
            row = widget.card.shown.row
            assert widget.card.shown.predicted == widget.session.table["class"][row], log
        self.check_evidence(shown)

    def check_evidence(self, shown: list[Layer]) -> None:
        """Evidence was computed as it is chosen now, for the cells that it says."""
        widget, log = self.widget, self.log
        explained = ~np.isnan(widget.session.table["importance_error"])
        assert widget.session.explaining == widget.explaining.choices(), log
        if widget.results.evidence is None:
            assert not explained.any(), log
            for layer in shown:
                assert layer.name != "evidence" or not np.any(layer.data), log
            return
        evidence = widget.results.evidence
        assert evidence.evidence.choices == widget.explaining.choices(), log
        assert evidence.evidence.n_explained == explained.sum(), log
        assert widget.evidence.choice.currentText() == evidence.shown, log
        outside = np.isin(widget.results.cells.data, np.flatnonzero(~explained) + 1)
        for image in evidence.maps.values():
            assert not image[outside].any(), log
        np.testing.assert_array_equal(evidence.layer.data, evidence.maps[evidence.shown], str(log))
        for layer in widget.results.maps:
            assert layer in shown, log
            assert layer.metadata["cellcam"]["model"] == widget.session.origin.model, log


@pytest.mark.parametrize("seed", range(8))
def test_what_is_shown_is_about_what_is_chosen(
    widget: ExplainWidget, until: Until, make_folder: Callable[..., Path], seed: int
) -> None:
    models = [Path(widget.choices.model_folder), make_folder(temperature=2.0)]
    person = Person(widget, until, models, seed)
    for _ in range(N_ACTIONS):
        person.act()
        person.check()
