"""The dock widget for folders in a real window: start, cancel, resume, open an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_cellcam.batch_dock.batch_widget import BatchWidget
from support.window import BATCH_TITLE, Until, discs

from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

pytestmark = pytest.mark.gui
NAMES = "abcdef"


@pytest.fixture
def batch(
    make_napari_viewer_proxy: Any, make_folder: Callable[..., Path], tmp_path: Path
) -> Iterator[BatchWidget]:
    """The widget with a folder of six large images of two cells each, and a damaged image."""
    viewer = make_napari_viewer_proxy()
    _, widget = viewer.window.add_plugin_dock_widget("cellcam", BATCH_TITLE)
    widget.form.model.choose(str(make_folder()))
    (tmp_path / "images").mkdir()
    field = np.stack([discs((1500, 1500), [(20, 15), (800, 900)])] * 2)[None, :, None]
    for name in NAMES:
        path = tmp_path / "images" / f"{name}.ome.tif"
        write_ome_tiff(path, field, ("DNA", "actin"), PixelSize(None, 0.5, 0.5))
    (tmp_path / "images" / "damaged.tif").write_bytes(path.read_bytes()[:5000])
    widget.form.choose_folder(str(tmp_path / "images"))
    widget.form.more.setText("--scheduler sync --threshold 100")
    yield widget
    with suppress(RuntimeError):  # a test may have closed the window
        widget.release()


def states(widget: BatchWidget) -> dict[str, str]:
    return {image.name: image.state for image in widget.images}


@pytest.mark.fault("20 a batch cancelled in the window", "resumed by the same button")
def test_a_folder_is_cancelled_resumed_and_its_images_opened(
    batch: BatchWidget, until: Until, shown_errors: list[str], tmp_path: Path
) -> None:
    assert batch.form.out.text() == str(tmp_path / "images-results")
    batch.start()
    assert not batch.start_button.isEnabled()
    until(lambda: "done" in states(batch).values(), 120)
    assert set(states(batch)) == {*NAMES, "damaged"}
    batch.cancel()
    assert "Stopping" in batch.status.text()
    until(lambda: not batch.running)
    assert "Start goes on" in batch.status.text()
    results = tmp_path / "images-results" / "images"
    kept = {path: path.stat().st_mtime_ns for path in results.glob("*.parquet")}
    assert kept
    assert len(kept) < 6
    assert not (tmp_path / "images-results" / "cells.parquet").exists()

    batch.start()
    until(lambda: not batch.running, 120)
    until(lambda: states(batch) == {**dict.fromkeys(NAMES, "done"), "damaged": "refused"})
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [image.cells for image in batch.images if image.state == "done"] == [2] * 6
    damaged = next(i for i, image in enumerate(batch.images) if image.name == "damaged")
    assert "damaged.tif" in batch.images[damaged].reason
    assert batch.status.text().startswith("12 cells in 6 of 7 images.")
    assert batch.progress.value() == batch.progress.maximum() == 7

    batch.table.doubleClicked.emit(batch.table.model().index(1, 0))
    until(lambda: batch.viewer.layers)
    names = [layer.name for layer in batch.viewer.layers]
    assert names == ["DNA", "actin", "b cells", "evidence for G1", "evidence for M"]
    assert all(tuple(layer.scale) == (0.5, 0.5) for layer in batch.viewer.layers)
    batch.table.doubleClicked.emit(batch.table.model().index(0, 0))
    until(lambda: "a cells" in batch.viewer.layers)
    assert len(batch.viewer.layers) == 5
    batch.table.doubleClicked.emit(batch.table.model().index(damaged, 0))
    assert "damaged is refused" in batch.status.text()
    assert not shown_errors


def test_errors_name_the_next_step(
    batch: BatchWidget, until: Until, shown_errors: list[str], tmp_path: Path
) -> None:
    from filelock import FileLock

    batch.form.out.setText("")
    batch.start()
    assert shown_errors == ["Choose a folder for the results."]
    (tmp_path / "nothing").mkdir()
    batch.form.choose_folder(str(tmp_path / "nothing"))
    batch.start()
    until(lambda: not batch.running)
    assert "There is no image in" in shown_errors[1]
    batch.form.choose_folder(str(tmp_path / "images"))
    (tmp_path / "images-results" / "parts").mkdir(parents=True)
    with FileLock(tmp_path / "images-results" / "parts" / "run.lock"):
        batch.start()
        until(lambda: not batch.running)
    assert "Another run works in" in shown_errors[2]
    assert "choose another" in shown_errors[2]
    assert batch.start_button.isEnabled()


def test_every_image_that_does_not_fit_the_model_is_refused_with_the_reason(
    batch: BatchWidget, until: Until, shown_errors: list[str], make_folder: Callable[..., Path]
) -> None:
    batch.form.model.choose(str(make_folder(channels=("DNA", "tubulin"))))
    batch.start()
    until(lambda: not batch.running)
    until(lambda: len(batch.images) == 7)
    assert set(states(batch).values()) == {"refused"}
    assert "tubulin" in batch.images[0].reason
    assert "in 0 of 7 images" in batch.status.text()


def test_the_command_can_be_copied(batch: BatchWidget, tmp_path: Path) -> None:
    batch.form.explained.setValue(5)
    batch.form.labels.setText("masks/{name}.tif")
    batch.form.planes.choose("max")
    model = batch.form.model.folder
    assert batch.copy_command() == (
        f"cellcam batch {tmp_path}/images --model {model} --out {tmp_path}/images-results "
        "--z max --explain 0.05 --labels 'masks/{name}.tif' --scheduler sync --threshold 100"
    )


@pytest.mark.fault("20 the window closed during a batch", "its process ends")
def test_closing_the_window_ends_the_child_process(
    make_napari_viewer_proxy: Any, batch: BatchWidget, until: Until
) -> None:
    batch.start()
    assert batch.process is not None
    until(lambda: batch.process.pid)
    pid = batch.process.pid
    batch.viewer.close()
    until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.fault("an image of a batch that explained nothing", "opened with a word on it")
@pytest.mark.parametrize("explained", [0.0, 1.0])
def test_an_opened_image_says_what_is_not_there(
    make_folder: Callable[..., Path], tmp_path: Path, explained: float
) -> None:
    from napari_cellcam.batch_dock.batch_results import read_results

    from cellcam import Request, ThresholdFinder
    from cellcam.batch.run import Resources, run_batch

    path = tmp_path / "in" / "a.ome.tif"
    field = np.stack([discs((64, 64), [(20, 15), (40, 40)])] * 2)[None, :, None]
    path.parent.mkdir()
    write_ome_tiff(path, field, ("DNA", "actin"), PixelSize(None, 0.5, 0.5))
    request = Request(finder=ThresholdFinder(threshold=100.0), explained=explained)
    resources = Resources("sync", device="cpu")
    run_batch([path], make_folder(), tmp_path / "out", request, resources=resources)
    opened = read_results(path, tmp_path / "out", "a")
    assert ("None of them was explained" in opened.message) == (explained == 0)
    assert any("evidence" in str(layer[1]["name"]) for layer in opened.layers) == bool(explained)
