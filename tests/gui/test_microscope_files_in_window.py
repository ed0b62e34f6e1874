"""Files of microscopes and slides in the window: layers, questions, cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_cellcam.widgets.facts_dialog import FileFactsDialog
from support.microscope_files import write_czi, write_lif, write_nd2, write_svs
from support.window import CLASSIFY_TITLE, TWO_CENTRES, Until, classified, discs

from cellcam.errors import InputError

pytestmark = pytest.mark.gui

NAMES = ("DNA", "actin")
PIXELS = np.stack([discs((40, 60), TWO_CENTRES), discs((40, 60), TWO_CENTRES) // 2])
STACK = PIXELS[None, :, None]


def write(folder: Path, ending: str) -> Path:
    path = folder / f"cells.{ending}"
    if ending == "czi":
        return write_czi(path, [STACK], NAMES, (1.0, 0.5, 0.5))
    if ending == "lif":
        return write_lif(path, {"field": STACK}, NAMES, (1.0, 0.5, 0.5))
    return write_nd2(path, STACK[:, None, :, :].transpose(0, 1, 3, 2, 4, 5), NAMES, (1.0, 0.5))


@pytest.mark.parametrize("ending", ["czi", "CZI", "lif", "nd2"])
def test_a_file_opens_as_layers_and_its_cells_are_classified(
    tmp_path: Path,
    make_napari_viewer_proxy: Any,
    make_folder: Callable[..., Path],
    until: Until,
    ending: str,
) -> None:
    path = write(tmp_path, ending.lower())
    path = path.rename(path.with_suffix(f".{ending}"))
    viewer = make_napari_viewer_proxy()
    layers = viewer.open(path, plugin="cellcam")
    assert [layer.name for layer in layers] == ["DNA", "actin"]
    for layer, pixels in zip(layers, PIXELS, strict=True):
        np.testing.assert_array_equal(np.asarray(layer.data), pixels)
        assert layer.scale.tolist() == [0.5, 0.5]
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", CLASSIFY_TITLE)
    widget.choices.choose_model(str(make_folder()))
    assert len(classified(widget, until).table) == 2
    widget.release()


def test_a_slide_is_one_layer_in_its_colours(tmp_path: Path, make_napari_viewer_proxy: Any) -> None:
    slide = np.random.default_rng(0).integers(0, 256, (100, 140, 3)).astype(np.uint8)
    (layer,) = make_napari_viewer_proxy().open(
        write_svs(tmp_path / "slide.svs", slide), plugin="cellcam"
    )
    assert layer.rgb
    np.testing.assert_array_equal(np.asarray(layer.data), slide)
    assert layer.scale.tolist() == [0.25, 0.25]


def test_a_slide_larger_than_memory_is_refused(
    tmp_path: Path, make_napari_viewer_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_svs(tmp_path / "slide.svs", np.zeros((100, 140, 3), np.uint8))
    monkeypatch.setattr("cellcam.stacks.memory.machine_bytes", lambda: 3 * 100 * 140 - 1)
    with pytest.raises(InputError, match="slide, 100 x 140 pixels.*cellcam batch"):
        make_napari_viewer_proxy().open(path, plugin="cellcam")


def test_the_scene_is_asked_for(
    tmp_path: Path, make_napari_viewer_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [STACK, np.ascontiguousarray(STACK[..., ::-1])]
    path = write_czi(tmp_path / "cells.czi", scenes, NAMES, (1.0, 0.5, 0.5))
    viewer = make_napari_viewer_proxy()
    asked = []

    def choose_second(dialog: FileFactsDialog) -> int:
        asked.append(dialog)
        dialog.series.setCurrentIndex(1)
        return 1

    monkeypatch.setattr(FileFactsDialog, "exec", choose_second)
    layers = viewer.open(path, plugin="cellcam")
    assert len(asked) == 1
    np.testing.assert_array_equal(np.asarray(layers[0].data), PIXELS[0, :, ::-1])
