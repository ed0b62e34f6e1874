r"""Picture of the window on a few cells of the sample, large enough to see the evidence.

xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/pictures/large_cells.py OUT
"""

from __future__ import annotations

from pathlib import Path

import typer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget
from window_story import Story, _wait

CENTRE = (95.0, 195.0)  # y, x in pixels: three classes beside each other


def main(out: Path, cell: int = 4, zoom: float = 5.6, scroll: int = 400) -> None:
    """Classify, explain, and look at a few cells closely."""
    story = Story(out, "large")
    story.open(None, None, [])
    story.classify()
    story.explain()
    viewer, widget = story.viewer, story.widget
    window = viewer.window._qt_window
    docks = {dock.windowTitle(): dock for dock in window.findChildren(QDockWidget)}
    for name in ("layer list", "layer controls"):
        docks[name].hide()
    dock = next(d for d in docks.values() if d.isVisible() and d.widget() is not None)
    viewer.window.resize(1400, 900)
    window.resizeDocks([dock], [470], Qt.Orientation.Horizontal)
    widget.go_to_cell(int((widget.session.table["label"] == cell).idxmax()))
    _wait(lambda: not widget.busy, 60)
    scale = viewer.layers["DNA"].scale[-1]
    viewer.camera.center = (0, CENTRE[0] * scale, CENTRE[1] * scale)
    viewer.camera.zoom = zoom / scale
    widget.verticalScrollBar().setValue(scroll)
    story.picture()
    viewer.close()


if __name__ == "__main__":
    typer.run(main)
