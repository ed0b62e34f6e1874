"""Pictures of single cells with their importance, and composites of channels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.colours import CHANNELS, under_importance


@dataclass(frozen=True, eq=False)
class ShownCell:
    """A cell with the evidence for one or more classes.

    Attributes
    ----------
    crop : (C, Y, X) raw counts; (C, Z, Y, X) is shown as its maximum projection
    maps : (K, Y, X) or (K, Z, Y, X) importance; K is 0 for a cell that was not explained
    caption : text below the picture
    """

    crop: NDArray[np.number]
    maps: NDArray[np.float32]
    caption: str


def composite_image(
    pixels: NDArray[np.generic], missing: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Channels as colours, each stretched from its 1st to its 99.8th percentile: (Y, X, 3).

    Parameters
    ----------
    pixels : (C, Y, X); NaN and infinity are drawn black
    missing : (Y, X) pixels without data: drawn black, and no part of the percentiles
    """
    shades = ((1.0, 1.0, 1.0),) if len(pixels) == 1 else CHANNELS.values()
    picture = np.zeros((*pixels.shape[1:], 3), np.float32)
    for channel, colour in zip(pixels, shades, strict=False):
        counts = channel.astype(np.float64)
        shown = np.isfinite(counts) if missing is None else np.isfinite(counts) & ~missing
        low, high = np.percentile(counts[shown], (1, 99.8)) if shown.any() else (0.0, 1.0)
        counts = np.where(shown, counts, low)
        stretched = np.clip((counts - low) / max(high - low, 1e-9), 0, 1)
        picture += stretched[..., None].astype(np.float32) * np.array(colour, np.float32)
    return np.clip(picture, 0, 1)


def cell_picture(cell: ShownCell) -> dict[str, str]:
    """A cell and its evidence side by side, as PNG in base64."""
    crop, maps = cell.crop, cell.maps
    if crop.ndim == 4:
        crop, maps = crop.max(1), maps.max(1)
    composite = composite_image(crop)
    grey = composite.mean(-1, keepdims=True) * 0.75
    panels = [composite, *(under_importance(grey, plane) for plane in maps)]
    return {
        "picture": png_row(panels),
        "caption": cell.caption,
        "panels": str(len(panels)),
    }


def png_row(panels: Sequence[NDArray[np.floating]]) -> str:
    """Panels (Y, X, 3) between 0 and 1 side by side, as PNG in base64."""
    from PIL import Image

    gap = np.ones((panels[0].shape[0], 2, 3))
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], 1)
    file = io.BytesIO()
    Image.fromarray((255 * np.clip(row, 0, 1)).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
