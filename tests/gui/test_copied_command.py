"""The copied command carries what the window knows, or says what it cannot."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.explain_dock.layer_offers import USE_AS_CELLS
from napari_cellcam.layers.layer_facts import apply_facts
from napari_cellcam.layers.stack_layers import FileFacts, stack_layers
from napari_cellcam.state.image_facts import ImageFacts
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from support.pictures import stained
from support.window import CLASSIFY_TITLE, TWO_CENTRES, Until, classified, discs

from cellcam import find_cells, open_stack
from cellcam.errors import InputError
from cellcam.models.normalisation import Normalisation

pytestmark = pytest.mark.gui


def test_in_the_colours_of_a_picture_cells_are_found_together(
    make_napari_viewer_proxy: Any, make_folder: Callable[..., Path], until: Until, tmp_path: Path
) -> None:
    channels = ("red", "green", "blue")
    scaling = Normalisation(offset=(0.0,) * 3, scale=(100.0,) * 3)
    folder = make_folder(channels=channels, normalisation=scaling, pixel_size_um=(0.5, 0.5))
    tifffile.imwrite(tmp_path / "a.tif", stained(), photometric="rgb")
    viewer = make_napari_viewer_proxy()
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", CLASSIFY_TITLE)
    viewer.open(tmp_path / "a.tif", plugin="cellcam")
    apply_facts(ImageFacts("YX", (0.5, 0.5)), list(viewer.layers))
    widget.choices.choose_model(str(folder))
    for look in ("auto", "hematoxylin"):
        for source in channels:
            widget.choices.sources[source].setCurrentText(f"a: {source}")
        widget.choices.look_for.setCurrentIndex(widget.choices.look_for.findData(look))
        widget.choices.diameter.setValue(6)
        session = classified(widget, until)
        picture = open_stack(tmp_path / "a.tif", pixel_size_um=0.5)
        expected = find_cells(picture, diameter_um=6, look_for=look)
        assert len(session.table) == expected.max() > 1
    assert "--look-for hematoxylin" in widget.copy_command()
    widget.release()


@pytest.fixture
def scaled(
    make_napari_viewer_proxy: Any, make_folder: Callable[..., Path]
) -> Iterator[ExplainWidget]:
    """The dock with a model that sees pixels of 0.25 um, and no image yet."""
    viewer = make_napari_viewer_proxy()
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", CLASSIFY_TITLE)
    widget.choices.choose_model(str(make_folder(pixel_size_um=(0.25, 0.25))))
    yield widget
    with suppress(RuntimeError):
        widget.release()


def unstated_file(folder: Path) -> Path:
    """Two pages that say nothing about channels, axes or scale."""
    pixels = np.stack([discs((40, 60), TWO_CENTRES)] * 2)
    tifffile.imwrite(folder / "two pages.tif", pixels, photometric="minisblack", metadata=None)
    return folder / "two pages.tif"


def open_as(widget: ExplainWidget, path: Path, given: FileFacts) -> None:
    stack = open_stack(path, axes=given.axes, channels=given.channels)
    for pixels, attributes, _ in stack_layers(stack, given):
        widget.viewer.add_image(pixels, **attributes)


def run(words: list[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_command_for_a_file_without_facts_gives_the_cells_of_the_window(
    scaled: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    path = unstated_file(tmp_path)
    open_as(scaled, path, FileFacts("CYX", ("DNA", "actin")))
    layers = list(scaled.viewer.layers)
    apply_facts(ImageFacts("YX", (0.5, 0.5), channels=("DNA", "actin")), layers)
    scaled.choices.threshold.setValue(100)
    session = classified(scaled, until)
    words = shlex.split(scaled.copy_command())
    assert not scaled.choices.choices().not_in_command()
    assert words[7:13] == ["--axes", "CYX", "--channels", "DNA,actin", "--pixel-size", "0.5"]
    run(words, tmp_path)
    table = pd.read_csv(tmp_path / "results" / "two pages.cells.csv")
    columns = ["label", "y", "x", "class"]
    pd.testing.assert_frame_equal(table[columns], session.table[columns], check_dtype=False)
    np.testing.assert_allclose(table["probability"], session.table["probability"], rtol=1e-4)


def test_a_missing_pixel_size_is_asked_for_by_the_name_of_the_button(
    scaled: ExplainWidget, tmp_path: Path
) -> None:
    open_as(scaled, unstated_file(tmp_path), FileFacts("CYX", ("DNA", "actin")))
    with pytest.raises(InputError, match="button Image facts") as caught:
        scaled.choices.choices()
    assert "--" not in str(caught.value)
    assert scaled.choices.facts.about.text() == "Unknown: pixel size"
    assert scaled.choices.facts.button.isEnabled()


def test_facts_from_the_dock_leave_the_plane_and_show_the_whole_image(
    scaled: ExplainWidget, qtbot: Any
) -> None:
    viewer = scaled.viewer
    viewer.add_image(np.zeros((7, 40, 60)), name="DNA", axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 3)

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        dialog.form.pixel_y.setValue(0.1)
        dialog.form.z_step.setValue(0.5)
        dialog.accept()

    QTimer.singleShot(50, answer)
    with qtbot.waitSignal(scaled.choices.facts.applied):
        scaled.choices.facts.button.click()
    assert viewer.dims.current_step[0] == 3
    scene = getattr(viewer, "scene", viewer)  # napari below 0.9 has no scene
    assert scene.camera.center[-2:] == pytest.approx((1.95, 2.95))
    assert scaled.choices.axes.text() == "ZYX"


def test_what_no_command_can_say_is_told(widget: ExplainWidget) -> None:
    labels = widget.viewer.add_labels(np.ones((40, 60), int), name="mine")
    widget.choices.cells.setCurrentText("mine")
    assert labels.source.path is None
    left_out = widget.choices.choices().not_in_command()
    assert any("DNA came from no file" in sentence for sentence in left_out)
    assert any("mine are in no file" in sentence for sentence in left_out)
    widget.copy_command()
    assert "mine are in no file" in widget.status.text()


def test_labels_that_were_changed_since_they_were_opened_are_told(
    widget: ExplainWidget, tmp_path: Path
) -> None:
    labels = np.zeros((40, 60), np.uint16)
    labels[5:15, 5:20], labels[20:35, 25:45] = 1, 2
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    widget.viewer.open(tmp_path / "labels.tif", plugin="cellcam")
    widget.choices.cells.setCurrentText("labels")
    words = shlex.split(widget.copy_command())
    assert words[words.index("--labels") + 1] == str(tmp_path / "labels.tif")
    told = lambda: widget.choices.choices().not_in_command()  # noqa: E731
    assert not any("other cells" in sentence for sentence in told())
    widget.viewer.layers["labels"].paint((0, 0), 2)
    assert any("other cells" in sentence for sentence in told())


def test_a_colour_of_a_picture_is_a_channel_of_the_model_and_of_the_command(
    scaled: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    grey = discs((40, 60), TWO_CENTRES)
    pixels = np.stack([np.zeros_like(grey), grey, grey], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    scaled.viewer.open(tmp_path / "a.tif", plugin="cellcam")
    apply_facts(ImageFacts("YX", (0.5, 0.5)), list(scaled.viewer.layers))
    choices = [scaled.choices.sources["DNA"].itemText(i) for i in range(3)]
    assert choices == ["a: red", "a: green", "a: blue"]
    scaled.choices.sources["DNA"].setCurrentText("a: blue")
    scaled.choices.sources["actin"].setCurrentText("a: green")
    scaled.choices.threshold.setValue(100)
    session = classified(scaled, until)
    assert len(session.table) == 2
    words = shlex.split(scaled.copy_command())
    run(words, tmp_path)
    table = pd.read_csv(tmp_path / "results" / "a.cells.csv")
    pd.testing.assert_frame_equal(
        table[["label", "y", "x", "class"]],
        session.table[["label", "y", "x", "class"]],
        check_dtype=False,
    )


def test_dark_cells_of_a_picture_are_those_of_the_command(
    scaled: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stained(eosin=0), photometric="rgb")
    scaled.viewer.open(tmp_path / "a.tif", plugin="cellcam")
    apply_facts(ImageFacts("YX", (0.5, 0.5)), list(scaled.viewer.layers))
    scaled.choices.sources["DNA"].setCurrentText("a: red")
    scaled.choices.sources["actin"].setCurrentText("a: green")
    session = classified(scaled, until)
    assert len(session.table) > 3
    run(shlex.split(scaled.copy_command()), tmp_path)
    table = pd.read_csv(tmp_path / "results" / "a.cells.csv")
    assert table["label"].tolist() == session.table["label"].tolist()
    np.testing.assert_allclose(table[["y", "x"]], session.table[["y", "x"]])
    scaled.choices.look_for.setCurrentIndex(scaled.choices.look_for.findData("bright"))
    assert "--look-for bright" in scaled.copy_command()


def test_a_network_of_cellpose_is_named_by_its_file(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    places = {
        "threshold": "cellcam.cells.threshold_finder:ThresholdFinder",
        "cellpose": "cellcam.cells.cellpose_finder:CellposeFinder",
    }
    entries = [EntryPoint(name, at, "cellcam.finders") for name, at in places.items()]
    monkeypatch.setattr("cellcam.cells.finder.installed_finders", lambda: EntryPoints(entries))
    widget: ExplainWidget = request.getfixturevalue("scaled")
    open_as(widget, unstated_file(tmp_path), FileFacts("CYX", ("DNA", "actin")))
    apply_facts(ImageFacts("YX", (0.5, 0.5)), list(widget.viewer.layers))
    assert widget.choices.network.isHidden()
    widget.choices.finder.setCurrentText("cellpose")
    assert not widget.choices.network.isHidden()
    widget.choices.network.setText("my networks/cpsam")
    words = shlex.split(widget.copy_command())
    assert words[words.index("--finder") + 1] == "cellpose"
    assert words[words.index("--finder-option") + 1] == "model=my networks/cpsam"


def test_an_image_of_patches_can_be_used_as_cells(widget: ExplainWidget, until: Until) -> None:
    cells = np.zeros((40, 60), np.uint8)
    cells[12:28, 8:22], cells[12:28, 32:48] = 7, 9
    widget.viewer.add_image(cells, name="outlines", scale=(0.5, 0.5), units=("um", "um"))
    widget.choices.cells.setCurrentText(f"{USE_AS_CELLS}outlines")
    assert classified(widget, until).table["label"].tolist() == [7, 9]
