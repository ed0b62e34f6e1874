"""A small model on disk, and the dock widget in a real window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from napari_cellcam.explain_dock import project_button
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.work.torch_loading import load_torch
from qtpy.QtWidgets import QApplication
from support.models import untrained_model
from support.window import CLASSIFY_TITLE, PLACEMENT, TWO_CENTRES, Until, discs

from cellcam.models.bundle import save_model
from cellcam.models.spec import Finding

# Before the first window draws, for the models that are made here (docs/decisions/0010).
load_torch()


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of an untrained model of DNA and actin with two classes."""

    def make(**changes: Any) -> Path:
        finding = Finding(channel="DNA", diameter_um=6.0)
        folder = tmp_path_factory.mktemp("model")
        save_model(untrained_model(classes=("G1", "M"), finding=finding, **changes), folder)
        return folder

    return make


@pytest.fixture(autouse=True)
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of all projects: not the user's."""
    folder = tmp_path / "projects"
    monkeypatch.setattr(project_button, "projects_folder", lambda: folder)
    return folder


@pytest.fixture
def widget(
    make_napari_viewer_proxy: Any, make_folder: Callable[..., Path]
) -> Iterator[ExplainWidget]:
    """The dock widget beside two image layers with two cells."""
    viewer = make_napari_viewer_proxy()
    for name in ("DNA", "actin"):
        viewer.add_image(discs((40, 60), TWO_CENTRES), name=name, **PLACEMENT)
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", CLASSIFY_TITLE)
    widget.choices.choose_model(str(make_folder()))
    yield widget
    with suppress(RuntimeError):  # a test may have closed the window
        widget.release()


@pytest.fixture
def until() -> Until:
    """Process the window's events until a condition holds."""

    def wait(condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the condition did not come true")
            QApplication.processEvents()
            time.sleep(0.005)

    return wait


@pytest.fixture
def shown_errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Errors that napari was asked to show; they do not fail the test."""
    errors: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_error", errors.append)
    return errors
