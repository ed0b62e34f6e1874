"""TIFF files and result files of CellCam as napari layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Image, Layer
from napari_cellcam.files.reader import get_reader
from napari_cellcam.layers.result_layers import is_result
from npe2 import PluginManager
from support.window import TWO_CENTRES, discs

from cellcam import Request, load_model
from cellcam.errors import InputError
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.reporting.colours import class_colours
from cellcam.stacks import tiff_pixels
from cellcam.stacks.stack import PixelSize, Stack
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui
ORANGE, BLUE = class_colours(["G1", "M"]).values()


def read(path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [Layer.create(*layer) for layer in reader(str(path))]


@pytest.fixture(scope="module")
def results(make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result files of ``cellcam explain`` for one field of two cells."""
    folder = tmp_path_factory.mktemp("results")
    image = np.stack([discs((40, 60), TWO_CENTRES)] * 2)
    stack = Stack.from_array(image, "CYX", ("DNA", "actin"), PixelSize(None, 0.5, 0.25), "plate1")
    explain_stack(stack, load_model(make_folder()), folder, Request(classes="all"))
    return folder


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each read of pixels from a file."""
    sizes: list[int] = []
    original = tiff_pixels.TiffPixels.__getitem__

    def counted(self: Any, region: Any) -> Any:
        pixels = original(self, region)
        sizes.append(pixels.nbytes)
        return pixels

    monkeypatch.setattr(tiff_pixels.TiffPixels, "__getitem__", counted)
    return sizes


def test_saved_importance_maps_look_like_fresh_maps(results: Path) -> None:
    layers = read(results / "plate1.maps.ome.tif")
    written = tifffile.imread(results / "plate1.maps.ome.tif")
    assert [layer.name for layer in layers] == ["evidence for G1", "evidence for M"]
    # On top of each other two maps could not be told apart.
    assert sum(layer.visible for layer in layers) == 1
    for layer, pixels in zip(layers, written, strict=True):
        np.testing.assert_array_equal(np.asarray(layer.data), pixels)
        assert tuple(layer.contrast_limits) == pytest.approx((0, written.max()))
        assert layer.colormap.map(np.array([0.0]))[0, 3] == 0
        assert layer.blending == "translucent_no_depth"
        assert layer.scale.tolist() == [0.5, 0.25]
        assert is_result(layer)
    table = pd.read_csv(results / "plate1.cells.csv")
    assert layers[0].metadata["cellcam"]["model"] == table["model"][0]


def test_cells_are_coloured_by_the_class_in_the_table(results: Path) -> None:
    (layer,) = read(results / "plate1.labels.ome.tif")
    table = pd.read_csv(results / "plate1.cells.csv")
    assert layer.name == "plate1 cells"
    assert layer.features["class"].tolist()[1:] == table["class"].tolist()
    for label, name in zip(table["label"], table["class"], strict=True):
        y, x = table.loc[table["label"] == label, ["y", "x"]].to_numpy()[0].round().astype(int)
        assert np.asarray(layer.data)[y, x] == label
        expected = Image(np.zeros((2, 2)), colormap={"G1": ORANGE, "M": BLUE}[name]).colormap
        np.testing.assert_allclose(layer.colormap.map(label)[:3], expected.colors[-1, :3])
    assert not is_result(layer)


def test_results_are_drawn_in_a_window(results: Path, make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    for kind in ("labels", "maps"):
        viewer.open(results / f"plate1.{kind}.ome.tif", plugin="cellcam")
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].max() > 100


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_either_table_or_none_will_do(results: Path, tmp_path: Path, ending: str) -> None:
    for name in ("plate1.labels.ome.tif", "plate1.maps.ome.tif"):
        (tmp_path / name).write_bytes((results / name).read_bytes())
    (plain,) = read(tmp_path / "plate1.labels.ome.tif")
    assert plain.features.empty
    assert len(read(tmp_path / "plate1.maps.ome.tif")) == 2
    table = f"plate1.cells.{ending}"
    (tmp_path / table).write_bytes((results / table).read_bytes())
    (with_classes,) = read(tmp_path / "plate1.labels.ome.tif")
    assert with_classes.features["class"].notna().sum() == 2


def labels_with_table(folder: Path, labels: np.ndarray, table: dict[str, list[Any]]) -> Layer:
    path = folder / "a.labels.ome.tif"
    write_ome_tiff(path, labels.astype(np.uint16), ("cells",))
    pd.DataFrame(table).to_csv(folder / "a.cells.csv", index=False)
    (layer,) = read(path)
    return layer


def test_cells_with_the_same_label_are_coloured_only_if_their_classes_agree(tmp_path: Path) -> None:
    labels = np.zeros((2, 1, 1, 8, 9))
    labels[:, ..., 2, 2] = 1
    agreed = labels_with_table(tmp_path, labels, {"label": [1, 1], "class": ["M", "M"]})
    assert 1 in agreed.colormap.color_dict
    assert agreed.features.empty
    doubtful = labels_with_table(tmp_path, labels, {"label": [1, 1], "class": ["M", "G1"]})
    assert not hasattr(doubtful.colormap, "color_dict")


def test_a_table_without_cells_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no cell table"):
        layer = labels_with_table(tmp_path, np.ones((1, 1, 1, 8, 9)), {"price": [1, 2]})
    assert layer.features.empty


def test_a_large_label_is_shown_without_class(tmp_path: Path) -> None:
    write_ome_tiff(
        tmp_path / "a.labels.ome.tif", np.full((1, 1, 1, 8, 9), 4_000_000_000, np.uint32), ("c",)
    )
    table = pd.DataFrame({"label": [4_000_000_000], "class": ["M"]})
    table.to_csv(tmp_path / "a.cells.csv", index=False)
    with pytest.warns(UserWarning, match="above 65536"):
        (layer,) = read(tmp_path / "a.labels.ome.tif")
    assert layer.features.empty


def test_a_class_may_be_called_na(tmp_path: Path) -> None:
    table = {"label": [1], "class": ["NA"]}
    layer = labels_with_table(tmp_path, np.ones((1, 1, 1, 8, 9)), table)
    assert layer.features["class"][1] == "NA"


def test_images_that_only_have_the_name_of_results_stay_images(tmp_path: Path) -> None:
    for kind in ("maps", "labels"):
        path = tmp_path / f"city.{kind}.ome.tif"
        write_ome_tiff(path, np.zeros((1, 2, 1, 8, 9), np.uint8), ("a", "b"))
        layers = read(path)
        assert [layer.name for layer in layers] == ["a", "b"]
        assert all(layer._type_string == "image" for layer in layers)
        assert not any(is_result(layer) for layer in layers)


def test_the_maps_of_a_movie_share_a_scale_from_few_planes(
    tmp_path: Path, read_bytes: list[int]
) -> None:
    maps = np.zeros((100, 2, 1, 32, 32), np.float32)
    maps[99, 1], maps[0, 1] = 3, 2
    write_ome_tiff(tmp_path / "m.maps.ome.tif", maps, ("G1", "M"), time_step_s=2.0)
    reader = get_reader(str(tmp_path / "m.maps.ome.tif"))
    assert reader is not None
    (_, empty, _), (_, full, _) = reader(str(tmp_path / "m.maps.ome.tif"))
    assert sum(read_bytes) <= 2 * 16 * 32 * 32 * 4
    assert empty["contrast_limits"] == full["contrast_limits"] == (0, 3)
    assert (empty["visible"], full["visible"]) == (False, True)
    assert full["scale"] == [2.0, 1.0, 1.0]


def test_only_the_planes_that_are_shown_are_read_from_a_large_stack(
    tmp_path: Path, read_bytes: list[int]
) -> None:
    path = tmp_path / "large.ome.tif"
    write_ome_tiff(path, np.zeros((1, 1, 20, 2000, 2000), np.uint16), ("DNA",))
    reader = get_reader(str(path))
    assert reader is not None
    (layer,) = reader(str(path))
    assert sum(read_bytes) <= 3 * 2000 * 2000 * 2  # contrast limits: first, middle, last plane
    Layer.create(*layer)
    assert sum(read_bytes) <= 5 * 2000 * 2000 * 2


def test_contrast_limits_are_those_of_the_whole_stack_without_hot_pixels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stack = random.normal(100, 5, (1, 1, 9, 60, 60))
    stack[0, 0, 2:7, 20:40, 20:40] = 3000  # no cell on the first and the last plane
    stack[0, 0, 4, 0, 0] = 60_000
    write_ome_tiff(tmp_path / "a.ome.tif", stack.astype(np.uint16), ("DNA",))
    (layer,) = read(tmp_path / "a.ome.tif")
    assert layer.contrast_limits[0] == pytest.approx(85, abs=5)
    assert layer.contrast_limits[1] == 3000


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_an_image_of_one_value_can_be_shown(tmp_path: Path, value: float) -> None:
    write_ome_tiff(tmp_path / "a.ome.tif", np.full((1, 1, 1, 8, 8), value, np.float32), ("DNA",))
    (layer,) = read(tmp_path / "a.ome.tif")
    low = 0 if np.isnan(value) else value
    assert list(layer.contrast_limits) == [low, low + 1]


@pytest.mark.parametrize(
    ("name", "names", "scale", "shape"),
    [
        ("neubias/xyzc_16bit__spots.tif", 2, [0.4, 0.094134, 0.094134], None),
        ("bian/IXMtest_A02_s9.tif", 3, None, None),
        ("tiledb/multi-channel-z-series.ome.tif", 3, [1, 1, 1], (5, 167, 439)),
    ],
)
def test_real_files_open_with_their_channels_and_scale(
    shared_data: Path, name: str, names: int, scale: Any, shape: tuple[int, ...] | None
) -> None:
    path = shared_data / "tiff_zoo" / name
    layers = read(path)
    assert len(layers) == names
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        whole, axes = series.asarray(), series.axes
    for index, layer in enumerate(layers):
        expected = np.take(whole, index, axes.index("C")) if "C" in axes else whole
        np.testing.assert_array_equal(np.asarray(layer.data), expected)
        if scale:
            np.testing.assert_allclose(layer.scale, scale, rtol=1e-4)
        assert shape is None or layer.data.shape == shape


def test_a_file_that_is_no_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.tif"
    path.write_text("Dear Sir or Madam")
    with pytest.raises(InputError, match=r"letter.tif is no TIFF that can be read") as caught:
        read(path)
    assert "console" not in str(caught.value)


def test_png_and_jpeg_are_left_to_napari() -> None:
    plugins = PluginManager.instance()
    plugins.discover()

    def readers_of(name: str) -> set[str]:
        return {reader.plugin_name for reader in plugins.iter_compatible_readers(name)}

    for name in ("a.png", "a.jpg", "a.bmp"):
        assert "cellcam" not in readers_of(name)
    assert "cellcam" in readers_of("a.tif")
