"""What the reports share: the page, charts and pictures of cells, all inside one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.overview import composite_image
from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ShownCell:
    """A cell with the evidence for one or more classes.

    Attributes
    ----------
    crop : (C, Y, X) raw counts; (C, Z, Y, X) is seen from above
    maps : (K, Y, X) or (K, Z, Y, X) importance
    caption : what is to be said
    """

    crop: NDArray[Any]
    maps: NDArray[np.float32]
    caption: str


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write one HTML file that needs no network; all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("cellcam.reporting"), autoescape=True, undefined=StrictUndefined
    )
    page = pages.get_template(template).render(content)
    with whole_file(path) as temporary:
        temporary.write_text(page, "utf-8")


def figure_svg(figure: Figure) -> str:
    """The figure as an SVG element, the same for the same content."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cellcam"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def cell_picture(cell: ShownCell) -> dict[str, str]:
    """A cell and its evidence side by side, as PNG in base64."""
    import matplotlib as mpl

    crop, maps = cell.crop, cell.maps
    if crop.ndim == 4:
        crop, maps = crop.max(1), maps.max(1)
    composite = composite_image(crop)
    grey = composite.mean(-1, keepdims=True) * 0.75
    colours = mpl.colormaps["inferno"]
    panels = [composite]
    for plane in maps:
        strength = np.sqrt(np.clip(plane / max(float(plane.max()), 1e-30), 0, 1))
        glow = colours(strength)[..., :3]
        panels.append(grey * (1 - 0.85 * strength[..., None]) + glow * 0.85 * strength[..., None])
    return {
        "picture": png_row(panels),
        "caption": cell.caption,
        "panels": str(len(panels)),
    }


def png_row(panels: Sequence[NDArray[Any]]) -> str:
    """Panels (Y, X, 3) between 0 and 1 side by side, as PNG in base64."""
    from PIL import Image

    gap = np.ones((panels[0].shape[0], 2, 3))
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], 1)
    file = io.BytesIO()
    Image.fromarray((255 * np.clip(row, 0, 1)).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
