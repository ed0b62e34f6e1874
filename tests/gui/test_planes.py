"""Stacks of planes: what is done with them, cells over planes, and the 3-D view."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.layers.result_layers import is_result
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from support.window import Until, classified, discs, explain

pytestmark = pytest.mark.gui

PLACE = {
    "scale": (1.0, 0.5, 0.5),
    "units": ("um", "um", "um"),
    "axis_labels": ("z", "y", "x"),
}
ON_PLANES = {(20, 15): range(1, 5), (20, 40): range(3, 6)}  # centre of each cell: planes
OUTLINES, BOX = "cell outlines in 3-D", "selected cell in 3-D"


def planes() -> np.ndarray:
    """Seven planes with two cells, one on planes 1 to 4, the other on planes 3 to 5."""
    return np.stack(
        [discs((40, 60), [at for at, zs in ON_PLANES.items() if z in zs]) for z in range(7)]
    )


@pytest.fixture
def stack(widget: ExplainWidget) -> ExplainWidget:
    """The dock beside a stack of planes."""
    widget.viewer.layers.clear()
    for name in ("DNA", "actin"):
        widget.viewer.add_image(planes(), name=name, **PLACE)
    widget.choices.diameter.setValue(6)
    return widget


@pytest.fixture
def found(stack: ExplainWidget, until: Until) -> ExplainWidget:
    """The cells of every plane."""
    classified(stack, until)
    return stack


def offered(widget: ExplainWidget) -> list[str]:
    planes = widget.choices.planes
    return [planes.itemText(i) for i in range(planes.count()) if planes.model().item(i).isEnabled()]


def column(widget: ExplainWidget, name: str) -> list[str]:
    """A column of the table as it is sorted on the screen."""
    model = widget.table.model()
    heads = [model.headerData(i, Qt.Orientation.Horizontal) for i in range(model.columnCount())]
    at = heads.index(name)
    return [model.data(model.index(i, at)) for i in range(model.rowCount())]


def show_3d(widget: ExplainWidget, until: Until) -> None:
    widget.viewer.dims.ndisplay = 3
    until(lambda: OUTLINES in widget.viewer.layers)


def visible(widget: ExplainWidget) -> list[str]:
    return [layer.name for layer in widget.viewer.layers if layer.visible and is_result(layer)]


class TestTheChoice:
    def test_it_is_there_for_stacks_only(self, widget: ExplainWidget) -> None:
        assert widget.choices.planes.isHidden()
        assert widget.choices.choices().request.z is None

    def test_it_says_in_words_what_can_be_done(self, stack: ExplainWidget) -> None:
        choice = stack.choices.planes
        assert not choice.isHidden()
        assert offered(stack) == [
            "Every plane by itself",
            "Brightest of all planes (projection)",
            "Mean of all planes (projection)",
        ]
        assert choice.itemText(3) == "Whole volume: this classifier sees flat images"
        assert choice.currentText() == "Every plane by itself"  # as the model was trained
        assert "same cell" in choice.meaning.text()

    def test_a_model_of_volumes_says_why_nothing_else_can_be_done(
        self, stack: ExplainWidget, make_folder: Callable[..., Path]
    ) -> None:
        folder = make_folder(spatial_dims=3, crop_size=(8, 16, 16), field="volume")
        stack.choices.choose_model(str(folder))
        assert offered(stack) == ["Whole volume"]
        assert stack.choices.planes.currentText() == "Whole volume"
        assert "this classifier sees volumes" in stack.choices.planes.itemText(0)

    def test_labels_with_planes_cannot_be_projected(self, stack: ExplainWidget) -> None:
        stack.viewer.add_labels((planes() > 100).astype(int), name="mine", **PLACE)
        stack.choices.cells.setCurrentText("mine")
        assert offered(stack) == ["Every plane by itself"]

    @pytest.mark.parametrize(
        ("trained", "chosen", "word", "n_cells"),
        [
            ("plane", "plane", None, 7),
            ("plane", "max", "max", 2),
            ("max", "max", None, 2),
            ("max", "plane", "each", 7),
        ],
    )
    def test_cells_and_command_follow_it(
        self,
        stack: ExplainWidget,
        until: Until,
        make_folder: Callable[..., Path],
        trained: Any,
        chosen: Any,
        word: str | None,
        n_cells: int,
    ) -> None:
        stack.choices.choose_model(str(make_folder(field=trained)))
        stack.choices.planes.choose(chosen)
        assert len(classified(stack, until).table) == n_cells
        words = stack.copy_command().split()
        assert (words[words.index("--z") + 1] if "--z" in words else None) == word
        is_warned = "check its calls" in stack.choices.planes.meaning.text()
        assert is_warned == (trained != chosen)

    def test_results_of_another_choice_are_put_away(self, found: ExplainWidget) -> None:
        found.choices.planes.choose("mean")
        assert found.session is None
        found.choices.planes.choose("plane")
        assert found.session is not None

    def test_a_project_remembers_it(self, stack: ExplainWidget, until: Until) -> None:
        stack.choices.planes.choose("max")
        classified(stack, until)
        stack.classes.assign("M", [0])
        folder = stack.project.folder
        stack.choices.planes.choose("plane")
        stack.project.folder  # noqa: B018 - the corrections are written by now
        stack.choices.planes.choose("max")
        classified(stack, until)
        stack.classes.assign("G1", [1])
        stack.choices.planes.choose("plane")
        stack.project_button.open_project(folder)
        assert stack.choices.planes.currentData() == "max"

    def test_training_says_what_the_network_saw(
        self, stack: ExplainWidget, until: Until, tmp_path: Path
    ) -> None:
        from napari_cellcam.state.training_cells import write_training

        stack.choices.planes.choose("max")
        session = classified(stack, until)
        assert session.planes == "max"
        stack.choices.planes.choose("plane")
        session = classified(stack, until)
        assert session.planes == "plane"
        stack.classes.assign("G1", [0, 1, 2])
        stack.classes.assign("M", [3, 4, 5])
        write_training(tmp_path / "t", stack.classes.corrections, session)
        assert '"field": "plane"' in (tmp_path / "t/recipe.yaml").read_text()


class TestOverPlanes:
    def test_the_table_has_the_number_of_the_cell_over_planes(self, found: ExplainWidget) -> None:
        table = found.session.table
        for at, zs in ON_PLANES.items():
            rows = table[np.hypot(table["y"] - at[0], table["x"] - at[1]) < 3]
            assert rows["z"].astype(int).tolist() == list(zs)
            assert rows["cell_3d"].nunique() == 1
        assert sorted(set(table["cell_3d"])) == [1, 2]

    def test_sorting_by_it_puts_the_planes_of_a_cell_together(self, found: ExplainWidget) -> None:
        found.table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
        assert column(found, "3-D cell") == ["1"] * 4 + ["2"] * 3
        assert column(found, "z") == ["1", "2", "3", "4", "3", "4", "5"]

    def test_it_stays_when_cells_are_explained(self, found: ExplainWidget, until: Until) -> None:
        before = found.session.table["cell_3d"].tolist()
        explain(found, until)
        assert found.session.table["cell_3d"].tolist() == before
        assert "3-D cell" in [
            found.table.model().headerData(i, Qt.Orientation.Horizontal) for i in range(3)
        ]

    def test_projections_and_single_planes_have_no_such_column(
        self, stack: ExplainWidget, until: Until
    ) -> None:
        stack.choices.planes.choose("max")
        assert "cell_3d" not in classified(stack, until).table
        stack.go_to_cell(0)
        assert stack.linked.isHidden()

    def test_labels_of_the_user_are_linked_by_overlap(
        self, stack: ExplainWidget, until: Until
    ) -> None:
        labels = np.zeros((7, 40, 60), np.int32)
        labels[1:3, 15:25, 10:20] = 5
        labels[3:5, 15:25, 10:20] = 8  # the same cell goes on with another label
        labels[1:3, 15:25, 35:45] = 9
        labels[3:5, 30:38, 50:58] = 9  # the same label somewhere else is another cell
        stack.viewer.add_labels(labels, name="mine", **PLACE)
        stack.choices.cells.setCurrentText("mine")
        table = classified(stack, until).table
        numbers = table.groupby("cell_3d")[["label", "z"]].agg(list)
        assert numbers["label"].tolist() == [[5, 5, 8, 8], [9, 9], [9, 9]]
        assert numbers["z"].tolist() == [["1", "2", "3", "4"], ["1", "2"], ["3", "4"]]

    def test_each_time_point_is_linked_by_itself(self, stack: ExplainWidget, until: Until) -> None:
        stack.viewer.layers.clear()
        movie = np.stack([planes(), planes()])
        for name in ("DNA", "actin"):
            stack.viewer.add_image(
                movie,
                name=name,
                scale=(1.0, *PLACE["scale"]),
                units=("s", *PLACE["units"]),
                axis_labels=("t", *PLACE["axis_labels"]),
            )
        table = classified(stack, until).table
        assert table.groupby("cell_3d")["t"].agg(set).tolist() == [{0}, {0}, {1}, {1}]

    def test_the_selected_cell_is_ringed_on_all_its_planes(self, found: ExplainWidget) -> None:
        row = int(np.flatnonzero(found.session.table["z"] == "2")[0])
        found.go_to_cell(row)
        mark = found.results.viewer.layers["selected cell"]
        origin = np.round(found.results.cells.world_to_data(mark.data_to_world((0, 0, 0))))
        values = {
            int(origin[0]) + i: set(np.unique(plane)) - {0} for i, plane in enumerate(mark.data)
        }
        assert values == {1: {2}, 2: {1}, 3: {2}, 4: {2}}
        assert mark.contour > 0

    def test_a_correction_of_one_plane_is_about_this_plane(self, found: ExplainWidget) -> None:
        row = int(np.flatnonzero(found.session.table["z"] == "2")[0])
        found.go_to_cell(row)
        found.classes.assign_number(1)
        assert found.classes.true_classes == {row: "M"}

    def test_all_planes_of_a_cell_can_be_selected_and_corrected(self, found: ExplainWidget) -> None:
        row = int(np.flatnonzero(found.session.table["z"] == "2")[0])
        found.go_to_cell(row)
        assert "planes 1 to 4" in found.linked.text.text()
        QTest.mouseClick(found.linked.select, Qt.MouseButton.LeftButton)
        found.classes.assign_number(1)
        same = found.session.table["cell_3d"] == found.session.table["cell_3d"][row]
        assert found.classes.true_classes == {int(i): "M" for i in np.flatnonzero(same)}
        assert len(found.classes.true_classes) == 4


class TestIn3D:
    def test_cells_are_outlines_in_the_colours_of_their_classes(
        self, found: ExplainWidget, until: Until
    ) -> None:
        show_3d(found, until)
        assert visible(found) == [OUTLINES]
        layer = found.viewer.layers[OUTLINES]
        image = found.results.cells.data
        starts = found.results.cells.world_to_data
        for line, colour in zip(layer.data, layer.edge_color, strict=True):
            z, y, x = starts(layer.data_to_world(line[0]))
            assert z == round(z)
            around = image[int(z), int(y) : int(y) + 2, int(x) : int(x) + 2]
            assert 0 in around
            name = found.session.calls[int(around.max()) - 1]
            np.testing.assert_allclose(colour[:3], _rgb(found.results.colours[name]), atol=0.01)

    def test_the_image_is_seen_through_transparent_maps(
        self, found: ExplainWidget, until: Until
    ) -> None:
        explain(found, until)
        show_3d(found, until)
        assert set(visible(found)) == {"image in grey", "evidence", OUTLINES}
        evidence, grey = (found.viewer.layers[name] for name in ("evidence", "image in grey"))
        assert grey.rendering == "mip"
        assert grey.blending == "translucent_no_depth"  # drawn first, it hides nothing
        assert found.viewer.layers.index(grey) < found.viewer.layers.index(evidence)
        assert evidence.colormap.colors[0][3] == 0
        assert evidence.blending == "translucent_no_depth"
        assert evidence.rendering == "mip"

    def test_planes_without_cells_are_dark_in_the_grey_image(
        self, found: ExplainWidget, until: Until
    ) -> None:
        explain(found, until)
        grey = found.results.evidence.grey.data
        assert grey[2, 18:22, 13:17].mean() > 100
        assert grey[0].mean() < 20  # noise

    def test_a_click_in_3d_selects_the_first_cell_in_sight_and_boxes_it(
        self, found: ExplainWidget, until: Until
    ) -> None:
        show_3d(found, until)
        from_below = (-1.0, 0.0, 0.0)
        event = SimpleNamespace(
            position=found.results.cells.data_to_world((0, 20, 15)),
            view_direction=from_below,
            dims_displayed=[0, 1, 2],
        )
        row = found.results.row_at(event)
        assert found.session.table["z"][row] == "4"  # looking down, the highest plane comes first
        event.position = found.results.cells.data_to_world((0, 2, 2))
        assert found.results.row_at(event) is None
        found.go_to_cell(row)
        until(lambda: BOX in found.viewer.layers)
        box = found.viewer.layers[BOX]
        ends = box.data[:, 0], box.data[:, 0] + box.data[:, 1]
        corners = [
            box.data_to_world(p) for p in (np.minimum(*ends).min(0), np.maximum(*ends).max(0))
        ]
        first, last = (found.results.cells.world_to_data(corner) for corner in corners)
        assert (first[0], last[0]) == (1, 4)
        np.testing.assert_allclose((first + last)[1:] / 2, (20, 15), atol=1)
        assert "selected cell" not in visible(found)

    def test_back_in_2d_the_chosen_cell_is_in_view(
        self, found: ExplainWidget, until: Until
    ) -> None:
        show_3d(found, until)
        row = int(np.flatnonzero(found.session.table["z"] == "5")[0])
        found.go_to_cell(row)
        found.viewer.dims.ndisplay = 2
        assert found.viewer.dims.current_step[0] == 5
        assert set(visible(found)) == {"cells by class", "selected cell"}
        assert found.viewer.layers["cells by class"].contour > 0

    def test_nothing_is_lost_on_the_way_there_and_back(
        self, found: ExplainWidget, until: Until
    ) -> None:
        explain(found, until)
        found.go_to_cell(2)
        until(lambda: not found.busy)
        found.viewer.layers.selection.active = found.viewer.layers["DNA"]
        before = visible(found), found.viewer.dims.current_step, found.card.shown
        for _ in range(2):
            show_3d(found, until)
            until(lambda: BOX in visible(found))
            found.viewer.dims.ndisplay = 2
            assert (visible(found), found.viewer.dims.current_step, found.card.shown) == before
            assert found.viewer.layers.selection.active.name == "DNA"

    def test_cells_that_were_hidden_stay_hidden(self, found: ExplainWidget, until: Until) -> None:
        found.results.cells.visible = False
        show_3d(found, until)
        assert visible(found) == []
        found.viewer.layers[OUTLINES].visible = True
        found.viewer.dims.ndisplay = 2
        assert found.results.cells.visible

    def test_corrections_recolour_the_outlines(self, found: ExplainWidget, until: Until) -> None:
        call = found.session.calls[0]
        other = next(name for name in found.session.spec.classes if name != call)
        show_3d(found, until)
        for hidden, name in ((False, other), (True, call)):
            found.viewer.layers[OUTLINES].visible = not hidden
            found.classes.assign(name, [0])
            lines = found.results.in_3d._outlines.numbers == 1
            colours = found.viewer.layers[OUTLINES].edge_color[lines]
            np.testing.assert_allclose(
                colours[:, :3], [_rgb(found.results.colours[name])] * lines.sum(), atol=0.01
            )

    def test_results_that_are_put_away_leave_nothing(
        self, found: ExplainWidget, until: Until
    ) -> None:
        found.go_to_cell(0)
        show_3d(found, until)
        found.choices.planes.choose("max")
        until(lambda: not visible(found))
        assert [layer.name for layer in found.viewer.layers] == ["DNA", "actin"]
        found.choices.planes.choose("plane")
        until(lambda: OUTLINES in visible(found))
        assert "cells by class" not in visible(found)
        found.viewer.dims.ndisplay = 2
        assert "cells by class" in visible(found)

    def test_volumes_are_outlined_plane_by_plane(
        self, stack: ExplainWidget, until: Until, make_folder: Callable[..., Path]
    ) -> None:
        stack.choices.choose_model(
            str(make_folder(spatial_dims=3, crop_size=(8, 16, 16), field="volume"))
        )
        session = classified(stack, until)
        assert stack.results.cells.contour > 0
        show_3d(stack, until)
        layer = stack.viewer.layers[OUTLINES]
        planes_seen = {round(z) for z in layer.data[:, 0, 0] / stack.results.in_3d.all._to_cubes[0]}
        assert planes_seen == set(np.unique(np.nonzero(session.cells_image)[0]))

    def test_the_switch_takes_no_time_of_ours(self, found: ExplainWidget, until: Until) -> None:
        """Of our callbacks alone: napari loads every volume onto the graphics card meanwhile."""
        explain(found, until)
        found.go_to_cell(0)
        show_3d(found, until)
        until(lambda: BOX in visible(found))
        in_3d = found.results.in_3d
        spent = 0.0
        original = in_3d._follow

        def timed(event: object = None) -> None:
            nonlocal spent
            begun = time.thread_time()
            original(event)
            spent = max(spent, time.thread_time() - begun)

        events = found.viewer.dims.events.ndisplay
        events.disconnect(original)
        events.connect(timed)
        for ndisplay in (2, 3, 2, 3):
            found.viewer.dims.ndisplay = ndisplay
        events.disconnect(timed)
        events.connect(original)
        assert 0 < spent < 0.2

    def test_large_numbers_of_cells_are_outlined_more_coarsely(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from napari_cellcam.state import cell_outlines

        image = np.stack([discs((40, 60), [(20, 15), (20, 40)]) > 100] * 3).astype(np.int32)
        fine = cell_outlines.outline_cells(image, lambda *_: None)
        monkeypatch.setattr(cell_outlines, "_MOST_LINES", 40)
        coarse = cell_outlines.outline_cells(image, lambda *_: None)
        assert 0 < len(coarse.lines) <= 40 < len(fine.lines)
        for outlines in (fine, coarse):  # each ring is closed
            ends = outlines.lines[:, 0] + outlines.lines[:, 1]
            assert {tuple(p) for p in ends.tolist()} == {
                tuple(p) for p in outlines.lines[:, 0].tolist()
            }


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
