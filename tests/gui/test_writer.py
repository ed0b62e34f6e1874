"""Layers written as OME-TIFF: pixels, names and scale, read by CellCam and by other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import LayerList, ViewerModel
from napari_cellcam.files.writer import storable, write_images
from npe2 import PluginManager
from ome_types import from_tiff

from cellcam import open_stack
from cellcam.errors import CellCamError, InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui
PLACE: dict[str, Any] = {
    "scale": (30, 2, 0.5, 0.25),
    "units": ("s", "um", "um", "um"),
    "axis_labels": ("t", "z", "y", "x"),
}
SHAPE = (2, 3, 40, 60)


def pixels(dtype: Any = np.uint16, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.fixture
def viewer() -> ViewerModel:
    """A viewer without a window; the plugin is registered."""
    PluginManager.instance().discover()
    return ViewerModel()


def test_images_become_the_channels_of_one_file(viewer: ViewerModel, tmp_path: Path) -> None:
    path = tmp_path / "cells.ome.tif"
    for index, name in enumerate(("DNA", "actin é")):
        viewer.add_image(pixels() + index, name=name, **PLACE)
    assert viewer.layers.save(str(path)) == [str(path)]
    image = from_tiff(path).images[0].pixels
    assert [channel.name for channel in image.channels] == ["DNA", "actin é"]
    sizes = (image.physical_size_z, image.physical_size_y, image.physical_size_x)
    assert sizes == (2, 0.5, 0.25)
    assert image.physical_size_x_unit.value == "µm"
    assert image.time_increment == 30
    expected = np.stack([pixels(), pixels() + 1], axis=2)  # TZCYX
    stack = open_stack(path)
    np.testing.assert_array_equal(np.asarray(stack.data), expected.transpose(0, 2, 1, 3, 4))
    assert stack.pixel_size_um == PixelSize(2, 0.5, 0.25)


def test_saved_layers_open_unchanged(viewer: ViewerModel, tmp_path: Path) -> None:
    before = [viewer.add_image(pixels() + i, name=name, **PLACE) for i, name in enumerate("ab")]
    viewer.layers.save(str(tmp_path / "x.ome.tif"), plugin="cellcam")
    after = ViewerModel().open(str(tmp_path / "x.ome.tif"), plugin="cellcam")
    for old, new in zip(before, after, strict=True):
        assert new.name == old.name
        np.testing.assert_allclose(new.scale, old.scale)
        assert new.units == old.units
        assert new.axis_labels == old.axis_labels
        np.testing.assert_array_equal(np.asarray(new.data), old.data)


@pytest.mark.parametrize(
    "name", ["neubias/xyzc_16bit__spots.tif", "tiledb/multi-channel-z-series.ome.tif"]
)
def test_real_files_are_copied_without_loss(
    viewer: ViewerModel, shared_data: Path, tmp_path: Path, name: str
) -> None:
    source = shared_data / "tiff_zoo" / name
    viewer.open(str(source), plugin="cellcam")
    viewer.layers.save(str(tmp_path / "copy.ome.tif"), plugin="cellcam")
    old, new = open_stack(source), open_stack(tmp_path / "copy.ome.tif")
    assert new.channels == old.channels
    assert new.data.dtype == old.data.dtype
    np.testing.assert_allclose(
        np.array(new.pixel_size_um, float), np.array(old.pixel_size_um, float), rtol=1e-6
    )
    np.testing.assert_array_equal(np.asarray(new.data), np.asarray(old.data))


def test_importance_saved_from_the_window_opens_as_importance(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    for name in ("G1", "M"):
        viewer.add_image(
            pixels(np.float32), name=f"evidence for {name}",
            metadata={"cellcam": {"model": "0", "class": name}}, **PLACE,
        )  # fmt: skip
    path = tmp_path / "x.maps.ome.tif"
    viewer.layers.save(str(path), plugin="cellcam")
    assert open_stack(path).channels == ("G1", "M")
    layers = ViewerModel().open(str(path), plugin="cellcam")
    assert [layer.name for layer in layers] == ["evidence for G1", "evidence for M"]
    assert layers[0].blending == "translucent_no_depth"


def test_a_single_channel_keeps_its_name_when_saved_again(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    write_ome_tiff(tmp_path / "a.ome.tif", pixels(shape=(1, 1, 1, 8, 9)), ("DNA",))
    (layer,) = viewer.open(str(tmp_path / "a.ome.tif"), plugin="cellcam")
    assert layer.name == "a DNA"
    layer.save(str(tmp_path / "b.ome.tif"), plugin="cellcam")
    assert open_stack(tmp_path / "b.ome.tif").channels == ("DNA",)
    layer.name = "nuclei"
    layer.save(str(tmp_path / "b.ome.tif"), plugin="cellcam")
    assert open_stack(tmp_path / "b.ome.tif").channels == ("nuclei",)


@pytest.mark.parametrize(("largest", "dtype"), [(7, np.uint16), (70_000, np.uint32)])
def test_cells_keep_their_labels_and_placement(
    viewer: ViewerModel, tmp_path: Path, largest: int, dtype: Any
) -> None:
    labels = np.zeros((3, 40, 60), np.int64)
    labels[1, 5:9, 5:9] = largest
    place = {name: values[1:] for name, values in PLACE.items()}
    layer = viewer.add_labels(labels, **place)
    path = tmp_path / "x.labels.ome.tif"
    layer.save(str(path), plugin="cellcam")
    assert tifffile.imread(path).dtype == dtype
    (new,) = ViewerModel().open(str(path), plugin="cellcam")
    assert new._type_string == "labels"
    np.testing.assert_array_equal(np.asarray(new.data), labels)
    np.testing.assert_allclose(new.scale, layer.scale)
    assert new.units == layer.units


def test_refusals_reach_the_user(viewer: ViewerModel, tmp_path: Path) -> None:
    """Without a plugin's name napari hides every ValueError and looks for another writer."""
    path = str(tmp_path / "x.ome.tif")
    viewer.add_image(pixels(), name="a", **PLACE)
    viewer.add_image(pixels(shape=(2, 3, 40, 61)), name="b", **PLACE)
    with pytest.raises(CellCamError, match="a.*differ in shape or scale"):
        viewer.layers.save(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "units", "known"),
    [
        (None, ("pixel",) * 3, False),
        (("c", "y", "x"), ("pixel",) * 3, False),
        (("z", "y", "x"), ("pixel",) * 3, True),
        (None, ("um",) * 3, True),
        (None, ("s", "um", "um"), True),
    ],
)
def test_axes_are_written_only_if_they_are_known(
    viewer: ViewerModel, tmp_path: Path, labels: Any, units: Any, known: bool
) -> None:
    path = str(tmp_path / "x.ome.tif")
    viewer.add_image(pixels(shape=(3, 40, 60)), name="DNA", axis_labels=labels, units=units)
    if known:
        viewer.layers.save(path)
        shape = open_stack(path).data.shape
        assert shape == ((3, 1, 1, 40, 60) if units[0] == "s" else (1, 1, 3, 40, 60))
        return
    with pytest.raises(CellCamError, match="Image facts..."):
        viewer.layers.save(path)


def test_two_channels_with_one_name_are_refused(tmp_path: Path) -> None:
    layers = LayerList()
    viewer = ViewerModel()
    for _ in range(2):
        layers.append(viewer.add_image(pixels(), metadata={"cellcam": {"class": "M"}}, **PLACE))
    with pytest.raises(CellCamError, match="Two layers would be the channel M"):
        write_images(str(tmp_path / "x.ome.tif"), [layer.as_layer_data_tuple() for layer in layers])


def test_a_pyramid_is_written_at_full_resolution(viewer: ViewerModel, tmp_path: Path) -> None:
    whole = pixels(shape=(64, 64))
    layer = viewer.add_image([whole, whole[::2, ::2]], multiscale=True, units=("um", "um"))
    layer.save(str(tmp_path / "x.ome.tif"), plugin="cellcam")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.ome.tif"), whole)


def test_colour_images_are_refused(viewer: ViewerModel, tmp_path: Path) -> None:
    viewer.add_image(np.zeros((8, 9, 3), np.uint8), rgb=True)
    with pytest.raises(CellCamError, match="Split RGB"):
        viewer.layers.save(str(tmp_path / "x.ome.tif"))


def test_an_ending_is_added_and_that_file_is_not_replaced(tmp_path: Path) -> None:
    layers = [(pixels(shape=(8, 9)), {"name": "DNA"}, "image")]
    (written,) = write_images(str(tmp_path / "x"), layers)
    assert written == str(tmp_path / "x.ome.tif")
    with pytest.raises(CellCamError, match="exists"):
        write_images(str(tmp_path / "x"), layers)
    assert write_images(written, layers) == [written]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([True, False]), np.uint8),
        (np.array([0, 255], np.int64), np.uint8),
        (np.array([0, 256], np.int64), np.uint16),
        (np.array([0, 2**32 - 1], np.uint64), np.uint32),
        (np.array([-5, 70_000]), np.int32),
        (np.array([-5], np.int8), np.int8),
        (np.array([0.1, np.nan, np.inf]), np.float32),
        (np.array([0.5], np.float16), np.float32),
        (np.array([3], np.uint16), np.uint16),
    ],
)
def test_values_are_kept_in_a_type_that_can_be_written(values: Any, dtype: Any) -> None:
    stored = storable(values)
    assert stored.dtype == dtype
    np.testing.assert_allclose(stored.astype(float), values.astype(float), rtol=1e-7)


@pytest.mark.parametrize(
    "values",
    [
        np.array([-1, 2**31]),
        np.array([2**32], np.uint64),
        np.array([1e300]),
        np.array([1j]),
    ],
)
def test_values_that_no_type_can_hold_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="Convert the layer first"):
        storable(values)
