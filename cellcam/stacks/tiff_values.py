"""What the stored values of a TIFF stand for, where that is not "the more, the brighter"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries

_COLOUR = (2, 6)  # RGB, and YCbCr of JPEG, which is decoded to RGB
_WHITE_IS_ZERO, _PALETTE = 0, 3
_OTHER_COLOURS = {
    5: "amounts of ink (CMYK)",
    8: "colours of the kind CIE L*a*b*",
    9: "colours of the kind ICC L*a*b*",
    10: "colours of the kind ITU L*a*b*",
}
_INVERTED = (
    "In this file 0 is white: what viewers show bright has low values. The values were used as "
    "they are stored."
)
_NOT_RGB = (
    "The values of this file are {}, not red, green and blue. Save it as RGB, or as one channel "
    "for each stain."
)
_NUMBERS_OF_COLOURS = (
    "This file holds colours by their numbers in a table, and these numbers are no intensities. "
    "Save it as RGB, or with one channel for each stain."
)
# A lookup table of a stain gets lighter all the way, but for so much of all its steps.
_BACKWARDS = 0.1


def is_colour(series: TiffPageSeries, axes: str) -> bool:
    """Whether the file says that its samples, or channels, are red, green and blue."""
    letter = "S" if "S" in axes else "C"
    n = series.shape[axes.index(letter)] if letter in axes else 0
    return n in (3, 4) and series.keyframe.photometric in _COLOUR


def about_values(page: TiffPage) -> tuple[str, ...]:
    """Note that stored values are used as they are, where viewers show others."""
    kind = int(page.photometric)
    if kind == _WHITE_IS_ZERO:
        return (_INVERTED,)
    if kind in _OTHER_COLOURS:
        return (_NOT_RGB.format(_OTHER_COLOURS[kind]),)
    return (_NUMBERS_OF_COLOURS,) if kind == _PALETTE and not _is_ramp(page) else ()


def _is_ramp(page: TiffPage) -> bool:
    """Whether the colour table only tints: higher values are lighter all the way, or darker."""
    table = page.colormap
    if table is None:
        return True
    lightness = np.array([0.299, 0.587, 0.114]) @ np.asarray(table, float) / 65535
    steps = np.diff(lightness)
    rise, fall = steps[steps > 0].sum(), -steps[steps < 0].sum()
    return bool(min(rise, fall) <= _BACKWARDS * (rise + fall))
