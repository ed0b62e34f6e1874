"""The dock widget in a real window: classify, explain, click, preview, and errors."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari_cellcam.explain_dock import choice_panel
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.cell_card import CellCard
from napari_cellcam.widgets import device_choice, model_choice
from qtpy.QtCore import Qt
from support.window import (
    CLASSIFY_TITLE,
    PLACEMENT,
    TWO_CENTRES,
    Until,
    classified,
    click,
    discs,
    explain,
)

from cellcam.models.normalisation import Normalisation
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui


def test_cells_are_classified_and_coloured(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    assert len(session.table) == 2
    cells = widget.results.cells
    assert cells.data.shape == (40, 60)
    assert set(np.unique(cells.data)) == {0, 1, 2}
    assert cells.features["class"].tolist()[1:] == session.table["class"].tolist()
    assert widget.table.model().rowCount() == 2
    assert "2 cells" in widget.status.text()


def test_evidence_lies_on_the_image(widget: ExplainWidget, until: Until) -> None:
    for layer in widget.viewer.layers:
        layer.translate = (3.0, -7.0)
        layer.scale = (0.5, 0.25)
    widget.choices.diameter.setValue(5)
    assert len(classified(widget, until).table)
    widget.choices.classes.setCurrentText("all classes")
    explain(widget, until)
    image = widget.viewer.layers["DNA"]
    for layer in (*widget.results.maps, widget.results.cells):
        np.testing.assert_allclose(
            layer.data_to_world((20, 15)), image.data_to_world((20, 15)), atol=0.25 / 2
        )
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels
    limits = {tuple(layer.contrast_limits) for layer in widget.results.maps}
    assert len(limits) == 1
    clear = widget.results.maps[0].colormap.map(np.array([0.0]))
    assert clear[0, 3] == 0


def test_a_click_shows_the_card_of_that_cell(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    shown: list[CellCard] = []
    widget.card.show_card = lambda card, colours: shown.append(card)
    layer = widget.results.cells
    number = int(layer.data[20, 40])
    click(widget, (20, 40))
    assert shown[0].difference is None  # at once, before the maps are computed
    until(lambda: len(shown) == 3)
    assert {card.label for card in shown} == {widget.session.table["label"][number - 1]}
    assert set(shown[2].class_maps) == {"G1", "M"}
    assert sum(shown[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert set(shown[1].difference.stain_losses) == {"DNA", "actin"}
    assert set(shown[2].difference.stain_maps) == {"DNA", "actin"}


def test_clicks_with_shift_select_several_cells(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    click(widget, (20, 15))
    click(widget, (20, 40), "Shift")
    assert sorted(widget.table.selected_rows()) == [0, 1]
    widget.classes.assign_number(1)
    assert widget.classes.true_classes == {0: "M", 1: "M"}
    click(widget, (20, 40), "Shift")
    assert len(widget.table.selected_rows()) == 1


def test_a_cell_in_view_does_not_move_the_view(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    camera = widget.viewer.scene.camera
    before = tuple(camera.center)
    widget.go_to_cell(0)
    assert tuple(camera.center) == before
    camera.center = (500.0, 500.0)
    widget.go_to_cell(0)
    facts = widget.session.table.iloc[0]
    np.testing.assert_allclose(camera.center[-2:], (facts["y"] * 0.5, facts["x"] * 0.5))


def test_keys_step_through_the_cells_and_assign_classes(
    widget: ExplainWidget, until: Until, qtbot: Any
) -> None:
    classified(widget, until)
    gone_to: list[int] = []
    widget.table.chosen.connect(gone_to.append)
    for key, expected in [("N", [0]), ("N", [0, 1]), ("P", [0, 1, 0])]:
        qtbot.keyClick(widget.table, getattr(Qt.Key, f"Key_{key}"))
        assert gone_to == expected
    qtbot.keyClick(widget.table, Qt.Key.Key_2)
    assert widget.classes.true_classes == {0: "M"}


def test_sorting_keeps_the_selection_and_steps_follow_the_new_order(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    session.table["margin"] = [0.9, 0.1]
    widget.table.show_cells(session.table)
    widget.go_to_cell(0)
    headings = [widget.table.model().headerData(i, Qt.Orientation.Horizontal) for i in range(4)]
    widget.table.sortByColumn(headings.index("margin"), Qt.SortOrder.AscendingOrder)
    assert widget.table.selected_rows() == [0]
    assert widget.table.currentIndex().row() == 1
    widget.table.step(-1)
    assert widget.table.selected_rows() == [1]


def test_evidence_of_other_cells_is_not_shown(widget: ExplainWidget, until: Until) -> None:
    classified(widget, until)
    widget.choices.classes.setCurrentText("all classes")
    widget.explain()
    until(lambda: not widget.tasks.running)
    assert widget.shown.appearing  # the layers are added one by one
    widget.shown.session = None
    until(lambda: not widget.busy)
    assert len(widget.results.maps) < 2


def test_results_are_not_offered_as_images_and_written_axes_stay(
    widget: ExplainWidget, until: Until
) -> None:
    widget.choices.axes.setText("yx")
    classified(widget, until)
    explain(widget, until)
    offered = [widget.choices.cells.itemText(i) for i in range(widget.choices.cells.count())]
    assert offered == ["find them"]
    for choice in widget.choices.sources.values():
        assert [choice.itemText(i) for i in range(choice.count())] == ["DNA", "actin"]
    assert widget.choices.axes.text() == "yx"


def test_a_model_that_does_not_fit_is_refused_before_any_work(
    widget: ExplainWidget, make_folder: Callable[..., Path], shown_errors: list[str]
) -> None:
    widget.choices.choose_model(str(make_folder(channels=("DNA", "ER"))))
    widget.classify()
    assert widget.session is None
    assert "No image layer was chosen for ER" in widget.status.text()
    assert shown_errors == [widget.status.text()]


def test_an_image_without_cells_gives_a_message(widget: ExplainWidget, until: Until) -> None:
    for layer in widget.viewer.layers:
        layer.data = np.full((40, 60), 7, np.uint8)
    assert len(classified(widget, until).table) == 0
    assert "No cells were found" in widget.status.text()


def test_cells_are_classified_on_each_plane_and_time_point(
    widget: ExplainWidget, until: Until
) -> None:
    viewer = widget.viewer
    viewer.layers.clear()
    place = {"scale": (30, 1, 0.5, 0.5), "units": ("s", "um", "um", "um")}
    for name in ("DNA", "actin"):
        viewer.add_image(
            discs((2, 3, 40, 60), TWO_CENTRES), name=name, axis_labels=("t", "z", "y", "x"), **place
        )
    assert widget.choices.axes.text() == "TZYX"
    session = classified(widget, until)
    assert len(session.table) == 12
    assert widget.results.cells.data.shape == (2, 3, 40, 60)
    assert len(np.unique(widget.results.cells.data)) == 13
    explain(widget, until)
    assert widget.results.maps[0].data.shape == (2, 3, 40, 60)
    np.testing.assert_allclose(widget.results.maps[0].scale, place["scale"])
    row = session.table.index[(session.table["t"] == 1) & (session.table["z"] == "2")][0]
    widget.go_to_cell(int(row))
    until(lambda: not widget.busy)
    assert viewer.dims.current_step[:2] == (1, 2)


def test_axes_follow_layers_that_were_chosen_by_hand(widget: ExplainWidget) -> None:
    widget.viewer.layers.clear()
    place = {"units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
    for name in ("channel 1", "channel 2"):
        widget.viewer.add_image(discs((3, 40, 60), TWO_CENTRES), name=name, **place)
    assert widget.choices.axes.text() == ""  # no name fits
    for choice, name in zip(
        widget.choices.sources.values(), ("channel 1", "channel 2"), strict=True
    ):
        choice.setCurrentText(name)
    assert widget.choices.axes.text() == "ZYX"


def test_layers_chosen_by_hand_stay_with_the_channels_of_another_model(
    widget: ExplainWidget, make_folder: Callable[..., Path]
) -> None:
    widget.choices.sources["actin"].setCurrentText("DNA")
    widget.choices.choose_model(str(make_folder(channels=("actin", "ER"))))
    names = {name: choice.currentText() for name, choice in widget.choices.sources.items()}
    assert names == {"actin": "DNA", "ER": ""}


def test_an_axis_in_seconds_is_time(widget: ExplainWidget) -> None:
    widget.viewer.layers.clear()
    widget.viewer.add_image(discs((3, 40, 60), TWO_CENTRES), name="DNA", units=("s", "um", "um"))
    assert widget.choices.axes.text() == "TYX"


def test_volumes_are_classified_and_explained(
    widget: ExplainWidget, until: Until, make_folder: Callable[..., Path]
) -> None:
    widget.viewer.layers.clear()
    place = {"scale": (1, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
    volume = np.full((9, 40, 60), 20, np.uint8)
    volume[2:7] = discs((5, 40, 60), TWO_CENTRES)
    for name in ("DNA", "actin"):
        widget.viewer.add_image(volume, name=name, **place)
    widget.choices.choose_model(
        str(make_folder(spatial_dims=3, crop_size=(8, 16, 16), field="volume"))
    )
    assert len(classified(widget, until).table) == 2
    explain(widget, until)
    assert widget.results.maps[0].data.shape == (9, 40, 60)
    widget.viewer.dims.ndisplay = 3


def test_labels_of_the_user_keep_their_numbers(widget: ExplainWidget, until: Until) -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[15:25, 10:20], labels[15:25, 35:45] = 7, 3
    widget.viewer.add_labels(labels, name="mine", **PLACEMENT)
    widget.choices.cells.setCurrentText("mine")
    assert sorted(classified(widget, until).table["label"]) == [3, 7]


def test_cells_and_evidence_of_a_shifted_anisotropic_stack_lie_on_it(
    widget: ExplainWidget, until: Until
) -> None:
    widget.viewer.layers.clear()
    place = {
        "scale": (2.0, 0.5, 0.25),
        "translate": (10.0, 3.0, -7.0),
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    centres = [(20, 15), (20, 40)]
    for name in ("DNA", "actin"):
        widget.viewer.add_image(discs((3, 40, 60), centres), name=name, **place)
    widget.choices.diameter.setValue(5)
    session = classified(widget, until)
    widget.choices.classes.setCurrentText("all classes")
    explain(widget, until)
    for row, facts in session.table.iterrows():
        nearest = min(centres, key=lambda centre: abs(centre[1] - facts["x"]))
        world = [10 + 2.0 * int(facts["z"]), 3 + 0.5 * nearest[0], -7 + 0.25 * nearest[1]]
        index = np.argwhere(widget.results.cells.data == int(str(row)) + 1).mean(axis=0)
        half = np.array(place["scale"]) / 2
        offset = np.subtract(widget.results.cells.data_to_world(index), world)
        assert np.all(np.abs(offset) <= half)
        for layer in widget.results.maps:
            np.testing.assert_allclose(layer.data_to_world(index), world, atol=half.min())
            assert layer.units == widget.results.cells.units


def test_a_layer_that_was_deleted_and_added_again_is_used(
    widget: ExplainWidget, until: Until
) -> None:
    layer = widget.viewer.layers["DNA"]
    widget.viewer.layers.remove(layer)
    widget.classify()
    assert "No image layer was chosen for DNA" in widget.status.text()
    widget.viewer.add_layer(layer)
    assert len(classified(widget, until).table) == 2


def test_renamed_layers_are_still_found(widget: ExplainWidget, until: Until) -> None:
    widget.viewer.layers["DNA"].name = "renamed"
    assert widget.choices.sources["DNA"].currentText() == "renamed"
    assert len(classified(widget, until).table) == 2
    widget.results.cells.name = "my cells"
    explain(widget, until)
    classified(widget, until)
    names = [layer.name for layer in widget.viewer.layers]
    assert names == ["renamed", "actin", "cells by class", "selected cell"]


def test_the_copied_command_has_the_choices(widget: ExplainWidget) -> None:
    widget.viewer.layers["DNA"].metadata["cellcam"] = {"path": "a b.tif", "channel": "DAPI"}
    widget.choices.diameter.setValue(7)
    widget.choices.threshold.setValue(120)
    widget.choices.classes.setCurrentText("M")
    command = widget.copy_command()
    assert command.startswith("cellcam explain 'a b.tif' --model ")
    assert command.endswith(
        "--out results --pixel-size 0.5 --map DNA=DAPI --diameter-um 7 --threshold 120 --classes M"
    )


def test_the_copied_command_gives_the_cells_of_the_window(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    pixels = np.stack([layer.data for layer in widget.viewer.layers])
    write_ome_tiff(
        tmp_path / "a b.ome.tif",
        pixels[None, :, None],
        ["DAPI", "actin"],
        PixelSize(None, 0.5, 0.5),
    )
    widget.viewer.layers.clear()
    widget.viewer.open(tmp_path / "a b.ome.tif", plugin="cellcam")
    widget.choices.sources["DNA"].setCurrentText("DAPI")
    widget.choices.threshold.setValue(100)
    session = classified(widget, until)
    words = shlex.split(widget.copy_command())
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "a b.cells.csv")
    columns = ["label", "y", "x", "class"]
    pd.testing.assert_frame_equal(table[columns], session.table[columns], check_dtype=False)


def test_the_preview_follows_the_threshold(widget: ExplainWidget, until: Until) -> None:
    outlined = lambda: widget.preview.layer  # noqa: E731
    widget.choices.preview.setChecked(True)
    until(lambda: outlined() is not None)
    assert outlined().data.max() == 2
    assert "2 cells would be found (automatic threshold " in widget.status.text()
    widget.choices.threshold.setValue(250)
    until(lambda: outlined().data.max() == 0)
    assert widget.choices.cells.count() == 1  # the preview is not offered as cells
    widget.classify()
    assert outlined() is None
    assert "cells to be found" not in [layer.name for layer in widget.viewer.layers]


def test_the_preview_follows_the_plane(widget: ExplainWidget, until: Until) -> None:
    widget.viewer.layers.clear()
    planes = np.stack([discs((40, 60), TWO_CENTRES), discs((40, 60), TWO_CENTRES[:1])])
    for name in ("DNA", "actin"):
        widget.viewer.add_image(planes, name=name, axis_labels=("z", "y", "x"))
    widget.viewer.dims.set_current_step(0, 0)
    widget.choices.preview.setChecked(True)
    until(lambda: widget.preview.layer is not None)
    assert widget.preview.layer.data.max() == 2
    widget.viewer.dims.set_current_step(0, 1)
    until(lambda: widget.preview.layer.data.max() == 1)


def test_two_viewers_do_not_share_results(
    widget: ExplainWidget,
    until: Until,
    make_napari_viewer_proxy: Any,
    make_folder: Callable[..., Path],
) -> None:
    other = make_napari_viewer_proxy()
    other.add_image(discs((40, 60), TWO_CENTRES[:1]), name="DNA", **PLACEMENT)
    _, second = other.window.add_plugin_dock_widget("cellcam", CLASSIFY_TITLE)
    one_channel = Normalisation(offset=(100,), scale=(50,))
    second.choices.choose_model(str(make_folder(channels=("DNA",), normalisation=one_channel)))
    widget.classify()
    second.classify()
    until(lambda: widget.session and second.session and not widget.busy and not second.busy)
    assert [len(widget.session.table), len(second.session.table)] == [2, 1]
    assert [layer.name for layer in other.layers] == ["DNA", "cells by class", "selected cell"]
    second.release()


def test_preferences_are_the_defaults(
    widget: ExplainWidget, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = {"model_folder": str(make_folder()), "device": "cpu", "preview": False}
    for module in (choice_panel, device_choice, model_choice):
        monkeypatch.setattr(module, "preference", preferences.__getitem__)
    assert model_choice.preferred_model() == preferences["model_folder"]
    assert device_choice.DeviceChoice().chosen() == "cpu"


def test_the_automatic_device_is_described(widget: ExplainWidget, until: Until) -> None:
    widget.viewer.window.show()
    until(lambda: "auto: " in widget.choices.device.itemText(0))
    text = widget.choices.device.itemText(0)
    assert "thread" in text or "GiB free" in text or "Apple" in text


def test_errors_of_a_task_are_shown(
    widget: ExplainWidget, until: Until, shown_errors: list[str]
) -> None:
    labels = np.zeros((40, 60), np.int32)
    widget.viewer.add_labels(labels[:20], name="half", **PLACEMENT)
    widget.choices.cells.setCurrentText("half")
    widget.classify()
    until(lambda: shown_errors)
    assert "half" in shown_errors[0] or "shape" in shown_errors[0]
    assert widget.classify_button.isEnabled()
