r"""The packaged stack, plane by plane, in the 3-D view of the window.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" \
        python docs/pictures/window_3d.py docs/images/window_3d.png

The cell with foci nearest to the middle is selected. The packaged model learned from projections:
its calls of single planes are not those of the pictures of `window_story.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import typer
from qtpy.QtWidgets import QApplication

ANGLES, ZOOM = (20, -30, 50), 1.6  # of the camera
MIDDLE = 224  # pixels


def main(picture: Path) -> None:
    """Classify and explain every plane, turn the stack, and save a screenshot."""
    viewer = napari.Viewer(show=False)
    viewer.window.show()
    _, dock = viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
    viewer.open_sample("cellcam", "demo_stack")
    viewer.window.resize(1560, 960)
    dock.choices.planes.choose("plane")
    for step in (dock.classify, dock.explain):
        step()
        _wait(lambda: not dock.busy)
    table = dock.session.table
    cells = table[(table["class"] == "foci") & (table["z"] == "2")]
    dock.go_to_cell(int(np.hypot(cells["y"] - MIDDLE, cells["x"] - MIDDLE).idxmin()))
    _wait(lambda: not dock.busy)
    viewer.dims.ndisplay = 3
    _wait(lambda: "selected cell in 3-D" in viewer.layers)
    viewer.scene.camera.angles = ANGLES
    viewer.scene.camera.zoom *= ZOOM
    _wait(lambda: False, 3)
    viewer.screenshot(str(picture), canvas_only=False, flash=False)
    viewer.close()


def _wait(condition: Callable[[], object], seconds: float = 600) -> None:
    """Process events until ``condition()`` holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.002)


if __name__ == "__main__":
    typer.run(main)
