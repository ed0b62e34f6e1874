"""Single cells in a report: the crop, and the evidence beside it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.overview import composite_image


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


def picture(cell: ShownCell) -> dict[str, str]:
    """A cell and its evidence side by side, as PNG in base64."""
    import matplotlib as mpl
    from PIL import Image

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
    gap = np.ones((composite.shape[0], 2, 3))
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], 1)
    file = io.BytesIO()
    Image.fromarray((255 * np.clip(row, 0, 1)).astype(np.uint8)).save(file, "PNG")
    return {"picture": base64.b64encode(file.getvalue()).decode(), "caption": cell.caption}
