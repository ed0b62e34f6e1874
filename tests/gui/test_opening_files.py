"""Pictures, files of cells, and the event loop while a file is opened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Labels, Layer
from napari_cellcam.files import reader as reading
from napari_cellcam.files.reader import get_reader
from napari_cellcam.layers.channel_sources import channel_sources, source_name
from napari_cellcam.layers.label_images import image_could_be_labels
from napari_cellcam.layers.stack_from_layers import stack_from_layers
from napari_cellcam.work.waiting import without_freezing
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox
from support.ome_files import image_xml, noise, ome, tiff_data, write_planes

from cellcam.errors import InputError
from cellcam.stacks import tiff_pixels
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui


def read(path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [Layer.create(*layer) for layer in reader(str(path))]


def picture(path: Path, dtype: type = np.uint8, **options: Any) -> np.ndarray:
    """A TIFF of 60 rows, each a strip, with a red, a green and a blue third."""
    pixels = np.zeros((60, 90, 3), dtype)
    for sample in range(3):
        pixels[:, 30 * sample : 30 * sample + 30, sample] = 200
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=1, **options)
    return pixels


def two_cells(value: int = 2) -> np.ndarray:
    labels = np.zeros((40, 50), np.uint16)
    labels[5:15, 5:20], labels[20:35, 25:45] = 1, value
    return labels


@pytest.mark.fault("labels stored as floating point, in the window", "open as cells")
def test_whole_numbers_as_floating_point_open_as_cells(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", two_cells(7).astype(np.float32))
    (layer,) = read(tmp_path / "a_labels.tif")
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, two_cells(7))
    tifffile.imwrite(tmp_path / "b_labels.tif", two_cells(7).astype(np.float32) / 2)
    (layer,) = read(tmp_path / "b_labels.tif")
    assert not isinstance(layer, Labels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_picture_is_one_layer_in_its_colours(tmp_path: Path, planar: str) -> None:
    pixels = picture(tmp_path / "a.tif")
    if planar == "separate":
        planes = np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(
            tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", metadata=None
        )
    (layer,) = read(tmp_path / "a.tif")
    assert layer.rgb
    np.testing.assert_array_equal(np.asarray(layer.data), pixels)


def test_red_is_drawn_red(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    picture(tmp_path / "a.tif")
    viewer = make_napari_viewer_proxy(show=True)
    viewer.open(tmp_path / "a.tif", plugin="cellcam")
    shot = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    middle = shot[shot.shape[0] // 2]
    lit = middle[middle.max(axis=1) > 150]
    assert lit[2].tolist() == [200, 0, 0]
    assert lit[-3].tolist() == [0, 0, 200]


def test_a_picture_of_16_bits_keeps_its_colours_and_has_contrast(tmp_path: Path) -> None:
    picture(tmp_path / "a.tif", np.uint16)
    layers = read(tmp_path / "a.tif")
    assert [layer.colormap.name for layer in layers] == ["red", "green", "blue"]
    assert all(layer.contrast_limits[1] == 200 for layer in layers)


def test_stains_that_the_user_names_are_no_colours(tmp_path: Path) -> None:
    from cellcam import open_stack

    picture(tmp_path / "a.tif")
    assert open_stack(tmp_path / "a.tif").is_colour
    assert not open_stack(tmp_path / "a.tif", channels=["DNA", "actin", "ER"]).is_colour


def test_each_strip_of_a_picture_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = picture(tmp_path / "a.tif")
    read_bytes: list[int] = []
    original = tiff_pixels.TiffPixels.__getitem__

    def counted(self: Any, region: Any) -> Any:
        found = original(self, region)
        read_bytes.append(found.nbytes)
        return found

    monkeypatch.setattr(tiff_pixels.TiffPixels, "__getitem__", counted)
    (layer,) = read(tmp_path / "a.tif")
    np.asarray(layer.data)
    assert [n for n in read_bytes if n] == [pixels.nbytes]  # Dask asks for no pixels first


def test_the_colours_of_a_picture_are_channels_to_choose_from(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.tif")
    (layer,) = read(tmp_path / "a.tif")
    sources = channel_sources([layer])
    assert [source_name(source) for source in sources] == ["a: red", "a: green", "a: blue"]
    stack = stack_from_layers({"DNA": sources[2], "actin": sources[0]}, "YX")
    np.testing.assert_array_equal(stack.field(0, channels=["DNA"])[0], pixels[..., 2])
    np.testing.assert_array_equal(stack.field(0, channels=["actin"])[0], pixels[..., 0])
    with pytest.raises(InputError, match="Split RGB"):
        stack_from_layers({"DNA": layer}, "YX")


@pytest.mark.parametrize("name", ["labels", "a_cp_masks", "well3_seg", "my-mask", "A.segmentation"])
def test_a_file_of_cells_opens_as_labels(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / f"{name}.tif", two_cells())
    (layer,) = read(tmp_path / f"{name}.tif")
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, two_cells())
    layer.paint((0, 0), 3)  # the user can correct it


def test_a_file_in_a_folder_of_masks_opens_as_labels(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "plate1.tif", two_cells())
    assert isinstance(read(tmp_path / "masks" / "plate1.tif")[0], Labels)


def test_values_that_are_one_patch_each_are_cells_whatever_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", said.append)
    tifffile.imwrite(tmp_path / "plate1.tif", two_cells())
    assert isinstance(read(tmp_path / "plate1.tif")[0], Labels)
    assert said == ["plate1 was opened as cells: each of its values is one patch."]


def test_patches_of_a_mask_become_cells_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", said.append)
    tifffile.imwrite(tmp_path / "mask.tif", (two_cells() > 0).astype(np.uint8) * 255)
    (layer,) = read(tmp_path / "mask.tif")
    np.testing.assert_array_equal(layer.data, two_cells())
    assert "each of its 2 patches" in said[0]


def nested_steps() -> np.ndarray:
    """Steps of brightness of one nucleus: each value is one patch, inside of another."""
    y, x = np.mgrid[:40, :50]
    distance = np.hypot(y - 20, x - 25)
    return (np.digitize(-distance, [-18, -14, -10, -6])).astype(np.uint8)


@pytest.mark.parametrize("name", ["plate1", "unlabelled_mask5", "labels"])
def test_intensities_stay_an_image_whatever_the_name(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).poisson(two_cells(1) * 60.0).astype(np.uint8)
    tifffile.imwrite(tmp_path / f"{name}.tif", noise)
    assert type(read(tmp_path / f"{name}.tif")[0]) is Image


@pytest.mark.parametrize("pixels", [nested_steps(), (two_cells() > 0).astype(np.uint8)])
def test_where_it_is_unsure_an_image_is_opened_that_can_be_used_as_cells(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    tifffile.imwrite(tmp_path / "plate1.tif", pixels)
    (layer,) = read(tmp_path / "plate1.tif")
    assert type(layer) is Image
    assert image_could_be_labels(layer)


def test_real_label_files_open_as_labels_and_all_others_as_images(shared_data: Path) -> None:
    zoo = shared_data / "tiff_zoo"
    kinds = {}
    for path in sorted((zoo / "neubias").glob("*.tif")):
        kinds[path.name] = type(read(path)[0])
    expected = {name: Labels if "label" in name or "binary" in name else Image for name in kinds}
    expected["xy_8bit_binary__two_cells_matlabstyle.tif"] = Image  # a yes/no mask, not so called
    assert kinds == expected
    # It is called segmentations, but every pixel is 0.
    assert type(read(zoo / "hubmap" / "output_ome.segmentations.ome.tif")[0]) is Image


def test_the_event_loop_runs_while_a_file_is_read(
    tmp_path: Path, make_napari_viewer_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ome_tiff(tmp_path / "a.ome.tif", np.ones((1, 1, 1, 8, 8), np.uint8), ("DNA",))
    viewer = make_napari_viewer_proxy()
    opened = reading._opened

    def slow(*arguments: Any) -> Any:
        time.sleep(0.5)  # a slow disk
        return opened(*arguments)

    monkeypatch.setattr(reading, "_opened", slow)
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    timer = QTimer()
    timer.timeout.connect(beat)
    timer.start(10)
    viewer.open(tmp_path / "a.ome.tif", plugin="cellcam")
    timer.stop()
    assert beats >= 10
    assert len(viewer.layers) == 1


def test_the_window_is_drawn_between_the_layers_of_a_file(
    tmp_path: Path, make_napari_viewer_proxy: Any
) -> None:
    names = ("DNA", "actin", "ER", "Golgi")
    write_ome_tiff(tmp_path / "a.ome.tif", np.ones((1, 4, 1, 8, 8), np.uint8), names)
    viewer = make_napari_viewer_proxy()
    seen: set[int] = set()
    timer = QTimer()
    timer.timeout.connect(lambda: seen.add(len(viewer.layers)))
    timer.start(0)
    viewer.open(tmp_path / "a.ome.tif", plugin="cellcam")
    timer.stop()
    assert {1, 2, 3} <= seen
    assert [layer.name for layer in viewer.layers] == list(names)


def test_an_error_of_the_thread_is_raised_where_it_was_called(qtbot: Any) -> None:
    def work() -> None:
        raise InputError("no such file")

    with pytest.raises(InputError, match="no such file"):
        without_freezing(work)


@pytest.mark.fault("a file with missing planes, in the window", "asked whether to open the others")
@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_an_image_with_missing_parts_is_opened_if_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_napari_viewer_proxy: Any, answer: str
) -> None:
    make_napari_viewer_proxy()
    pixels = noise(2, 1, 1, 40, 50)
    planes = tiff_data(0, 3)
    xml = ome(image_xml(0, (3, 1, 1, 40, 50), planes))
    write_planes(tmp_path / "a.ome.tif", pixels[:, 0, 0], xml)
    asked: list[str] = []

    def question(_: object, title: str, text: str, buttons: object) -> object:
        asked.append(text)
        return getattr(QMessageBox.StandardButton, answer)

    monkeypatch.setattr(QMessageBox, "question", question)
    reader = get_reader(str(tmp_path / "a.ome.tif"))
    assert reader is not None
    layers = reader(str(tmp_path / "a.ome.tif"))
    assert "1 of 3 planes are missing" in asked[0]
    if answer == "No":
        assert list(layers) == [(None,)]
        return
    layer = Layer.create(*layers[0])
    np.testing.assert_array_equal(np.asarray(layer.data), pixels[:, 0, 0])
    stack = stack_from_layers({"DNA": layer}, "TYX")
    assert any("missing" in note for note in stack.notes)
    assert layer.metadata["cellcam"]["given"].tolerate_missing
