"""A small model on disk, and the dock widget in a real window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari_cellcam.torch_loading import load_torch
from qtpy.QtWidgets import QApplication

from cellcam.models.bundle import save_model
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import build_network
from cellcam.models.spec import Finding, ModelSpec

Until = Callable[..., None]

# Before the first window draws, for the models that are made here (docs/decisions/0011).
load_torch()


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of an untrained model of DNA and actin with two classes."""

    def make(**changes: Any) -> Path:
        import torch

        torch.manual_seed(0)
        described = {
            "network": "small_cnn",
            "channels": ("DNA", "actin"),
            "classes": ("G1", "M"),
            "crop_size": (16, 16),
            "normalisation": Normalisation(offset=(100, 100), scale=(50, 50)),
            "target_layer": "features.1",
            "formula": "complete",
            "baseline": "background",
            "finding": Finding(channel="DNA", diameter_um=6.0),
            **changes,
        }
        spec = ModelSpec(**described)
        network = build_network("small_cnn", spec.spatial_dims, len(spec.channels), 2)
        folder = tmp_path_factory.mktemp("model")
        save_model(CellModel(spec, network, torch.device("cpu")), folder)
        return folder

    return make


def discs(shape: tuple[int, ...], centres: list[tuple[float, float]]) -> np.ndarray:
    """Bright discs of radius 6 on the last two axes of an image of 8 bits."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    inside = np.any([np.hypot(y - cy, x - cx) < 6 for cy, cx in centres], axis=0)
    noise = np.random.default_rng(0).poisson(20, shape)
    return (noise + 180 * inside).astype(np.uint8)


TWO = [(20, 15), (20, 40)]
PLACE = {"scale": (0.5, 0.5), "units": ("um", "um"), "axis_labels": ("y", "x")}


@pytest.fixture
def widget(make_napari_viewer_proxy: Any, make_folder: Callable[..., Path]) -> Any:
    """The dock widget beside two image layers with two cells."""
    viewer = make_napari_viewer_proxy()
    for name in ("DNA", "actin"):
        viewer.add_image(discs((40, 60), TWO), name=name, **PLACE)
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
    widget.choices.choose_model(str(make_folder()))
    yield widget
    widget.release()


@pytest.fixture
def until() -> Callable[..., None]:
    """Let the window work until a condition holds."""

    def wait(condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the window did not come to an end")
            QApplication.processEvents()
            time.sleep(0.005)

    return wait


def classified(widget: Any, until: Until) -> Any:
    widget.classify()
    until(lambda: not widget.busy)
    return widget.session


def click(layer: Any, at: tuple[float, ...], *modifiers: str) -> None:
    event = SimpleNamespace(
        position=layer.data_to_world(at),
        view_direction=None,
        dims_displayed=[0, 1],
        modifiers=modifiers,
    )
    layer.mouse_drag_callbacks[-1](layer, event)
