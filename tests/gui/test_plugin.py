"""The sample and files without results, opened in a real window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellcam import open_stack, samples
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui


def test_the_sample_opens_with_channels_scale_and_units(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    layers = viewer.open_sample("cellcam", "demo_stack")
    stack = open_stack(samples.sample_path(samples.DEMO_STACK))
    assert [layer.name for layer in layers] == list(stack.channels)
    for index, layer in enumerate(layers):
        np.testing.assert_allclose(layer.scale, stack.pixel_size_um)
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        np.testing.assert_array_equal(np.asarray(layer.data), stack.data[0, index])


def test_the_sample_is_not_drawn_black(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.open_sample("cellcam", "demo_stack")
    picture = viewer.screenshot(canvas_only=True, flash=False)
    assert picture[..., :3].max() > 100


def test_a_time_series_keeps_its_time_step(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    path = tmp_path / "movie.ome.tif"
    write_ome_tiff(
        path, np.zeros((4, 1, 1, 8, 9), np.uint8), ("H2B",), PixelSize(None, 0.5, 0.5), 30.0
    )
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(path, plugin="cellcam")
    assert layer.data.shape == (4, 8, 9)
    assert layer.scale.tolist() == [30.0, 0.5, 0.5]
    assert [str(unit) for unit in layer.units] == ["second", "micrometer", "micrometer"]


def test_a_file_without_scale_is_shown_in_pixels(
    tmp_path: Path, make_napari_viewer_proxy: Any
) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((8, 9), np.uint8))
    (layer,) = make_napari_viewer_proxy().open(tmp_path / "plain.tif", plugin="cellcam")
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel"]
