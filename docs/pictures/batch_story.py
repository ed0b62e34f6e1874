r"""Process a folder with a damaged file in the real window; save a picture of each step.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" \
        python docs/pictures/batch_story.py docs/images

The packaged sample, rotated and tiled, stands for the images of a plate. The run is cancelled
once an image is done, then resumed; finally an image is opened with its results.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import typer
from qtpy.QtWidgets import QApplication

from cellcam import open_stack, samples
from cellcam.stacks.writing import write_ome_tiff


def main(out: Path, name: str = "batch") -> None:
    """Run all steps; the pictures are NAME_1.png, NAME_2.png, ..."""
    with tempfile.TemporaryDirectory() as place:
        out = out.absolute()
        os.chdir(place)  # so that the pictures show no path of this machine
        folder = _plate(Path())
        viewer = napari.Viewer(show=False)
        viewer.window.show()
        _, widget = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain a folder")
        viewer.window.resize(1560, 960)
        _wait(lambda: "auto is" in widget.form.model.device.about.text(), 60)
        widget.form.choose_folder(str(folder))
        widget.form.explained.setValue(10)

        def picture(number: int) -> None:
            _wait(lambda: False, 0.7)
            viewer.screenshot(str(out / f"{name}_{number}.png"), canvas_only=False, flash=False)

        widget.start()
        states = Counter[str]()

        def some_done() -> bool:
            states.clear()
            states.update(image.state for image in widget.images)
            return states["done"] > 0

        print(f"first images done after {_wait(some_done):.1f} s: {dict(states)}")
        picture(1)
        started = time.perf_counter()
        widget.cancel()
        QApplication.processEvents()
        print(f"acknowledged after {time.perf_counter() - started:.2f} s: {widget.status.text()}")
        print(f"stopped after {_wait(lambda: not widget.running):.1f} s: {widget.status.text()}")
        picture(2)
        widget.start()
        print(f"resumed, ended after {_wait(lambda: not widget.running):.1f} s")
        _wait(lambda: "waiting" not in {image.state for image in widget.images})
        print(widget.status.text())
        widget.open_image(next(image for image in widget.images if image.state == "done"))
        print(f"opened after {_wait(lambda: len(viewer.layers) > 4):.2f} s")
        picture(3)
        widget.release()
        _wait(lambda: not widget.running)
        viewer.close()


def _plate(place: Path) -> Path:
    """Write a folder of images made from the sample, one of them damaged."""
    stack = open_stack(samples.sample_path(samples.DEMO_STACK))
    pixels = np.asarray(stack.data)
    folder = place / "plate 7"
    folder.mkdir()
    for i in range(8):
        turned = np.rot90(pixels, i % 4, (-2, -1))
        field = np.tile(turned[..., :: 1 - i // 4 * 2], (3, 2))
        path = folder / f"{'BCDE'[i % 4]}0{i // 4 + 3}_s1.ome.tif"
        write_ome_tiff(path, field, stack.channels, stack.pixel_size_um)
    damaged = folder / "C03_s1.ome.tif"
    damaged.write_bytes(damaged.read_bytes()[:200_000])
    return folder


def _wait(condition: Callable[[], object], seconds: float = 180) -> float:
    """Process events until ``condition()`` holds; return the seconds it took."""
    started = time.perf_counter()
    while not condition() and time.perf_counter() - started < seconds:
        QApplication.processEvents()
        time.sleep(0.005)
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
