r"""Picture of why this and not that for all cells of the sample.

xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/pictures/why_story.py OUT
"""

from __future__ import annotations

from pathlib import Path

import typer
from napari_cellcam.state.differences import DIFFERENCE
from window_story import Story, _wait


def main(out: Path) -> None:
    """Classify, explain, and draw the differences; the last picture shows them."""
    story = Story(out, "window_why")
    story.open(None, None, [])
    story.classify()
    story.explain()
    widget = story.widget
    widget.evidence.choice.setCurrentText(DIFFERENCE)
    _wait(lambda: widget.results.evidence.is_signed and not widget.busy, 300)
    print(widget.status.text())
    story.show("mitotic")
    story.picture()
    story.viewer.close()


if __name__ == "__main__":
    typer.run(main)
