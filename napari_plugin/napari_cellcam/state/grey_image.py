"""The image of a session in dim grey, under the evidence. No Qt here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellcam.pipeline.find_field import FoundCells
    from napari_cellcam.state.session import Session

# Percentiles of the pixels of a channel that are drawn black and white; then all is dimmed, so
# that evidence stands out.
_SHOWN, _BRIGHTEST = (1.0, 99.8), 150

Range = tuple[float, float]


def grey_image(session: Session) -> NDArray[np.uint8]:
    """All stains as one dim grey image on the axes of `Session.kept_axes`.

    Each stain has one scale over all planes and time points: with a scale for each plane, the noise
    of planes without cells would be as bright as cells.
    """
    channels = session.matched.channels
    shown = {name: _range_of_all(session.found, name) for name in channels}
    return session.on_axes([_in_grey(field, shown) for field in session.found])


def _range_of_all(fields: list[FoundCells], channel: str) -> Range:
    """Smallest black and largest white of all fields."""
    ranges = [np.nanpercentile(_pixels(field, channel), _SHOWN) for field in fields]
    return float(np.nanmin(ranges)), float(np.nanmax(ranges))


def _in_grey(field: FoundCells, shown: dict[str, Range]) -> NDArray[np.uint8]:
    total = np.zeros(field.labels.shape, np.float32)
    for name, (low, high) in shown.items():  # one by one: a channel of a large field is large
        total += np.clip((_pixels(field, name) - low) / max(high - low, 1e-9), 0, 1)
    total *= _BRIGHTEST / max(1, len(shown)) * 1.5
    return np.clip(np.nan_to_num(total), 0, _BRIGHTEST).astype(np.uint8)


def _pixels(field: FoundCells, channel: str) -> NDArray[np.float32]:
    pixels = field.stack.field(field.place.t, field.place.z, [channel])[0]
    return pixels.astype(np.float32)
