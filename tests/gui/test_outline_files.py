"""Cells of other programs opened on an image in the window, and used there."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.files.outline_files import get_reader
from support.many_cells import cells_of, many_cells
from support.window import PLACEMENT, Until, classified

from cellcam.errors import InputError
from cellcam.exchange.cells import Cells, ImageFacts
from cellcam.exchange.formats import writing_format

pytestmark = pytest.mark.gui

LABELS = many_cells(12)
HEIGHT, WIDTH = LABELS.shape
ENDINGS = (".geojson", ".zip", ".json")


def write(path: Path, cells: Cells | None = None) -> Path:
    known = writing_format(path)
    assert known is not None
    known.write(cells or cells_of(LABELS), path)
    return path


def with_image(viewer: Any, shape: tuple[int, ...] = (HEIGHT + 9, WIDTH + 5)) -> Any:
    placement = {"scale": (0.5, 0.25), "translate": (3, 4), "units": ("um", "um")}
    viewer.add_image(np.zeros(shape, np.uint8), name="DNA", axis_labels=("y", "x"), **placement)
    return viewer


@pytest.mark.parametrize("ending", ENDINGS)
def test_cells_open_as_labels_on_the_image(
    tmp_path: Path, make_napari_viewer_proxy: Any, ending: str
) -> None:
    viewer = with_image(make_napari_viewer_proxy())
    # COCO states the size of the image.
    cells = replace(cells_of(LABELS), image=ImageFacts("DNA", (HEIGHT + 9, WIDTH + 5)))
    (layer,) = viewer.open(write(tmp_path / f"mine{ending}", cells), plugin="cellcam")
    assert isinstance(layer, Labels)
    expected = np.pad(LABELS, ((0, 9), (0, 5)))
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    assert layer.scale.tolist() == [0.5, 0.25]
    assert layer.translate.tolist() == [3, 4]
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    assert layer.name == f"mine{ending} on DNA"


def test_classes_come_with_their_colours(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    viewer = with_image(make_napari_viewer_proxy())
    (layer,) = viewer.open(write(tmp_path / "mine.geojson"), plugin="cellcam")
    cells = cells_of(LABELS)
    by_label = dict(zip(cells.numbers.tolist(), cells.classes, strict=True))
    for label, name in by_label.items():
        assert layer.features["class"][label] == name
        red, green, blue = (layer.colormap.map(label)[:3] * 255).round()
        colour = f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
        assert {"G1": "#cc8800", "M": "#00ddff"}.get(name, colour) == colour


def test_masks_of_cellpose_open_as_labels(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    viewer = with_image(make_napari_viewer_proxy(), LABELS.shape)
    content = {"masks": LABELS.astype(np.uint16), "filename": "a.tif"}
    np.save(tmp_path / "a_seg.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    (layer,) = viewer.open(tmp_path / "a_seg.npy", plugin="cellcam")
    np.testing.assert_array_equal(np.asarray(layer.data), LABELS)


def test_planes_of_cells_are_those_of_a_stack(
    tmp_path: Path, make_napari_viewer_proxy: Any
) -> None:
    cells = replace(cells_of(LABELS), image=ImageFacts("DNA", LABELS.shape, n_planes=3))
    planes = np.zeros((len(cells), 2), int)
    planes[cells.numbers > 6] = (0, 2)
    write(tmp_path / "mine.zip", replace(cells, planes=planes))
    viewer = make_napari_viewer_proxy()
    viewer.add_image(
        np.zeros((3, *LABELS.shape), np.uint8), name="DNA", axis_labels=("z", "y", "x")
    )
    (layer,) = viewer.open(tmp_path / "mine.zip", plugin="cellcam")
    expected = np.zeros((3, *LABELS.shape), int)
    expected[0], expected[2] = LABELS * (LABELS <= 6), LABELS * (LABELS > 6)
    np.testing.assert_array_equal(np.asarray(layer.data), expected)


def test_without_an_image_the_cells_are_in_pixels(
    tmp_path: Path, make_napari_viewer_proxy: Any
) -> None:
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(write(tmp_path / "mine.geojson"), plugin="cellcam")
    data = np.asarray(layer.data)
    np.testing.assert_array_equal(data, LABELS[: data.shape[0], : data.shape[1]])
    assert (data > 0).sum() == (LABELS > 0).sum()
    assert [str(unit) for unit in layer.units] == ["pixel"] * 2


def test_cells_of_another_image_are_refused(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    viewer = with_image(make_napari_viewer_proxy(), (20, 20))
    with pytest.raises(InputError, match="20 x 20 pixels"):
        viewer.open(write(tmp_path / "mine.geojson"), plugin="cellcam")


def test_other_files_of_these_endings_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"name": "settings"}))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "no cells")
    assert get_reader(str(tmp_path / "a.json")) is None
    assert get_reader(str(tmp_path / "a.zip")) is None
    write(tmp_path / "b.json", replace(cells_of(LABELS), image=ImageFacts("a", LABELS.shape)))
    assert get_reader(str(tmp_path / "b.json")) is not None


def test_what_the_window_saves_it_opens_and_classifies_again(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    first = classified(widget, until).table
    widget.table_export.save(tmp_path / "mine.geojson")
    (layer,) = widget.viewer.open(tmp_path / "mine.geojson", plugin="cellcam")
    assert layer.scale.tolist() == list(PLACEMENT["scale"])
    assert layer.features["class"][1:].tolist() == first["class"].tolist()
    widget.choices.cells.setCurrentText(layer.name)
    again = classified(widget, until).table
    columns = ["label", "area", "class", "probability"]
    assert again[columns].equals(first[columns])
