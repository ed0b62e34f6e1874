"""Files that do not state their axes, and facts about layers that are open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Labels
from napari_cellcam.layers.layer_facts import (
    apply_facts,
    facts_of_layers,
    layers_on_the_same_pixels,
)
from napari_cellcam.layers.stack_from_layers import stack_from_layers
from napari_cellcam.state.image_facts import ImageFacts
from napari_cellcam.widgets.facts_dialog import (
    FactsPanel,
    FileFactsDialog,
    LayerFactsDialog,
)
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from cellcam.errors import InputError
from cellcam.stacks.image_file import StatedImage

pytestmark = pytest.mark.gui
Answer = Callable[[Any], object]


@pytest.fixture
def answer_dialogs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Function that answers the next modal dialogs, and returns those that it met."""

    def answer(*answers: Answer) -> list[Any]:
        met: list[Any] = []
        left = list(answers)

        def reply() -> None:
            dialog = QApplication.activeModalWidget()
            if dialog is not None and dialog not in met:
                met.append(dialog)
                left.pop(0)(dialog)
            if left:
                QTimer.singleShot(20, reply)

        QTimer.singleShot(20, reply)
        return met

    return answer


@pytest.fixture
def shown_infos(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    infos: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", infos.append)
    return infos


@pytest.fixture
def unstated(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A file of three pages with nothing said about them."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "three.tif", pixels, photometric="minisblack", metadata=None)
    return tmp_path / "three.tif", pixels


def may_open(dialog: Any) -> bool:
    box = dialog.findChild(QDialogButtonBox)
    return bool(box.button(QDialogButtonBox.StandardButton.Ok).isEnabled())


def test_what_a_file_does_not_state_is_asked_for(
    unstated: tuple[Path, np.ndarray],
    make_napari_viewer_proxy: Any,
    answer_dialogs: Callable[..., list[Any]],
) -> None:
    path, pixels = unstated
    viewer = make_napari_viewer_proxy()

    def say(dialog: FileFactsDialog) -> None:
        form = dialog.form
        assert not may_open(dialog)
        form.axes.setText("CYX")
        form.channels.setText("DNA, actin, tubulin")
        form.pixel_y.setValue(0.25)
        assert form.pixel_x.value() == 0.25
        assert may_open(dialog)
        dialog.accept()

    met = answer_dialogs(say)
    viewer.open(path, plugin="cellcam")
    assert len(met) == 1
    assert [layer.name for layer in viewer.layers] == ["DNA", "actin", "tubulin"]
    for layer, channel in zip(viewer.layers, pixels, strict=True):
        np.testing.assert_array_equal(layer.data, channel)
        assert layer.scale.tolist() == [0.25, 0.25]
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2


def test_a_file_is_not_opened_when_the_user_gives_up_and_that_is_said_once(
    unstated: tuple[Path, np.ndarray],
    make_napari_viewer_proxy: Any,
    answer_dialogs: Callable[..., list[Any]],
    shown_infos: list[str],
    shown_errors: list[str],
) -> None:
    viewer = make_napari_viewer_proxy()
    answer_dialogs(lambda dialog: dialog.reject())
    viewer.open(unstated[0], plugin="cellcam")
    assert not viewer.layers
    assert shown_infos == [f"{unstated[0]} was not opened."]
    assert not shown_errors


def test_one_of_several_images_of_a_file_is_chosen(
    tmp_path: Path,
    make_napari_viewer_proxy: Any,
    answer_dialogs: Callable[..., list[Any]],
) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for size in (8, 16):
            metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
            tif.write(np.full((size, size), size, np.uint8), metadata=metadata)
    viewer = make_napari_viewer_proxy()

    def say(dialog: FileFactsDialog) -> None:
        dialog.series.setCurrentIndex(1)
        assert dialog.form.axes.text() == "YX"
        assert dialog.form.pixel_x.value() == 0.5
        dialog.accept()

    answer_dialogs(say)
    viewer.open(path, plugin="cellcam")
    (layer,) = viewer.layers
    assert layer.data.shape == (16, 16)
    assert layer.metadata["cellcam"]["given"].series == 1


@pytest.mark.parametrize(
    ("axes", "names", "problem"),
    [
        ("", "", "Write what the axes mean"),
        ("YX", "", "3 axes, but 2 letters"),
        ("CZX", "", "Y and X"),
        ("QYX", "", "Q is no axis"),
        ("YYX", "", "once"),
        ("CYX", "DNA, actin", "3 channels, but 2 names"),
        ("CYX", "DNA, DNA, actin", "name of its own"),
        ("zyx", "", ""),
    ],
)
def test_entries_are_checked_while_they_are_typed(
    qtbot: Any, axes: str, names: str, problem: str
) -> None:
    dialog = FileFactsDialog("a.tif", {0: StatedImage("QYX", (3, 20, 30))})
    qtbot.addWidget(dialog)
    dialog.form.axes.setText(axes)
    dialog.form.channels.setText(names)
    assert problem in dialog.form.problem()
    assert bool(dialog.form.problem()) == bool(problem) != may_open(dialog)


def test_without_a_window_the_error_says_what_is_missing(
    unstated: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_cellcam.files.reader import get_reader

    monkeypatch.setattr("napari_cellcam.work.waiting.in_gui", lambda: False)
    reader = get_reader(str(unstated[0]))
    assert reader is not None
    with pytest.raises(InputError, match="axes QYX|axes IYX") as caught:
        reader(str(unstated[0]))
    assert "console" not in str(caught.value)
    assert "import " not in str(caught.value)


def test_facts_of_layers_say_what_is_unknown() -> None:
    plain = Image(np.zeros((4, 20, 30)), name="channel 1")
    facts = facts_of_layers([plain])
    assert facts.missing() == ("axes", "pixel size", "channel names")
    known = Image(
        np.zeros((4, 20, 30)),
        name="DNA",
        scale=(2, 0.5, 0.25),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
    )
    assert facts_of_layers([known]) == ImageFacts("ZYX", (0.5, 0.25), 2.0, None, ("DNA",))
    assert not facts_of_layers([known]).missing()


def test_applied_facts_live_in_the_layers_and_reach_the_stack() -> None:
    layers = [Image(np.zeros((4, 20, 30)), name=name) for name in ("a", "b")]
    labels = Labels(np.zeros((20, 30), int), translate=(2, 0))
    facts = ImageFacts("TYX", (0.5, 0.25), None, 60.0, ("DNA", "actin"))
    apply_facts(facts, layers, [labels])
    assert [layer.name for layer in layers] == ["DNA", "actin"]
    stack = stack_from_layers({layer.name: layer for layer in layers}, "TYX")
    assert stack.pixel_size_um == (None, 0.5, 0.25)
    assert stack.time_step_s == 60
    assert labels.scale.tolist() == [0.5, 0.25]
    assert labels.translate.tolist() == [1, 0]  # the same pixels as before
    assert facts_of_layers(layers) == facts


def test_layers_on_the_same_pixels_get_the_same_scale(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((20, 30)), name="DNA")
    labels = viewer.add_labels(np.zeros((20, 30), int), name="cells")
    other = viewer.add_image(np.zeros((9, 9)), name="other")
    (alike,) = layers_on_the_same_pixels(image, viewer.layers)
    assert alike.name == "cells"
    dialog = LayerFactsDialog([image], viewer.layers)
    dialog.form.pixel_y.setValue(0.5)
    dialog.accept()
    assert image.scale.tolist() == labels.scale.tolist() == [0.5, 0.5]
    assert other.scale.tolist() == [1, 1]


def test_the_panel_says_what_is_unknown_until_it_is_given(
    qtbot: Any, answer_dialogs: Callable[..., list[Any]]
) -> None:
    panel = FactsPanel()
    qtbot.addWidget(panel)
    layer = Image(np.zeros((20, 30)), name="DNA", axis_labels=("y", "x"))
    panel.show_layers([layer], [layer])
    assert panel.about.text() == "Unknown: pixel size"

    def say(dialog: LayerFactsDialog) -> None:
        dialog.form.pixel_y.setValue(0.2)
        dialog.accept()

    answer_dialogs(say)
    with qtbot.waitSignal(panel.applied):
        panel.button.click()
    assert panel.about.text() == "Pixel size 0.2 um"
    assert str(layer.units[0]) == "micrometer"
