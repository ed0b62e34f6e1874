from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from cellcam import InputError, Stack, open_stack
from cellcam.stacks.blocks import blocks_of
from cellcam.stacks.ome_zarr import create_zarr, export_tiff, write_block
from cellcam.stacks.stack import PixelSize

SHAPE = (300, 421)


def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 128)
    maps = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    stack = Stack.from_array(maps, "CYX", pixel_size_um=PixelSize(None, 0.5, 0.25))
    create_zarr(folder, stack, ["G1", "M"], np.float32, (128, 128), 1)
    for block in blocks_of(stack, 0):
        part = maps[(slice(None), *block.core.slices)][:, None]
        files = write_block(folder, 0, 0, block.core, part)
        assert all(file.is_file() for file in files)
    return maps


def test_blocks_come_back_as_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = written(tmp_path / "a.maps.ome.zarr", monkeypatch)
    stack = open_stack(tmp_path / "a.maps.ome.zarr")
    np.testing.assert_array_equal(stack.data[0, :, 0], maps)
    assert stack.channels == ("G1", "M")
    assert stack.pixel_size_um == (None, 0.5, 0.25)
    assert stack.name == "a.maps"


def test_ome_zarr_models_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v05 = pytest.importorskip("ome_zarr_models.v05", reason="needs ome-zarr-models")
    monkeypatch.setattr("cellcam.stacks.ome_zarr._CHUNK", 64)
    written(tmp_path / "a.ome.zarr", monkeypatch)
    image = v05.Image.from_zarr(zarr.open_group(tmp_path / "a.ome.zarr", mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    assert [(axis.name, axis.type) for axis in multiscale.axes] == [
        ("t", "time"),
        ("c", "channel"),
        *((axis, "space") for axis in "zyx"),
    ]
    finest, coarser = (one.coordinateTransformations[0].scale for one in multiscale.datasets[:2])
    assert list(finest) == [1, 1, 1, 0.5, 0.25]
    assert list(coarser) == [1, 1, 1, 1, 0.5]
    channels = image.ome_attributes.omero["channels"]
    assert [channel["label"] for channel in channels] == ["G1", "M"]


def test_a_window_of_a_large_image_is_read_without_the_rest(tmp_path: Path) -> None:
    stack = Stack.from_array(np.zeros((5000, 6000), np.uint8), "YX")
    create_zarr(tmp_path / "a.ome.zarr", stack, ["G1", "M"], np.float32, (2048, 2048), 1)
    assert open_stack(tmp_path / "a.ome.zarr").data.chunksize == (1, 1, 1, 2048, 2048)


def test_coarser_levels_are_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellcam.stacks.ome_zarr._CHUNK", 64)
    maps = written(tmp_path / "a.ome.zarr", monkeypatch)
    coarse = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["1"]
    assert coarse.shape == (1, 2, 1, 150, 211)
    expected = maps[:, :, :420].reshape(2, 150, 2, 210, 2).mean((2, 4))
    np.testing.assert_allclose(coarse[0, :, 0, :, :210], expected, rtol=1e-6)


@pytest.mark.fault(
    "31 a write that is not aligned with a shard", "refused: two writers of a shard lose pixels"
)
def test_a_block_that_is_no_shard_is_refused(tmp_path: Path) -> None:
    stack = Stack.from_array(np.zeros(SHAPE, np.uint8), "YX")
    create_zarr(tmp_path / "a.ome.zarr", stack, ["cells"], np.uint32, (128, 128), 1)
    block = blocks_of(stack, 0)[0].core
    shifted = type(block)((64, 0), (192, 128), SHAPE)
    with pytest.raises(AssertionError):
        write_block(tmp_path / "a.ome.zarr", 0, 0, shifted, np.ones((1, 1, 128, 128), np.uint32))


def test_an_export_is_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = written(tmp_path / "a.ome.zarr", monkeypatch)
    export_tiff(tmp_path / "a.ome.zarr", tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), maps)
    stack = open_stack(tmp_path / "a.ome.tif")
    assert stack.channels == ("G1", "M")
    assert stack.pixel_size_um == (None, 0.5, 0.25)


@pytest.mark.fault("a folder named .ome.zarr without an image", "refused")
def test_a_folder_that_holds_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError, match="no OME-Zarr"):
        open_stack(tmp_path / "a.zarr")
