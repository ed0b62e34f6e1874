"""The HTML page of every report: one file that needs no network, and charts in it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.notice import RESEARCH_USE
from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(path: Path, template: str, **content: object) -> None:
    """Write one HTML file that needs no network; all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("cellcam.reporting"), autoescape=True, undefined=StrictUndefined
    )
    page = pages.get_template(template).render(content, notice=RESEARCH_USE)
    with whole_file(path) as temporary:
        temporary.write_text(page, "utf-8")


def figure_svg(figure: Figure) -> str:
    """The figure as an SVG element, the same for the same content."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cellcam"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
