"""Open slides of Aperio (SVS), Hamamatsu (NDPI) and Leica (SCN), which are kinds of TIFF.

tiffslide says which of the images in a file is the slide, and the pixel size. The pixels are read
like those of other TIFFs, by regions of the full resolution and with the same checks.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from cellcam.stacks.image_file import ImageFile
from cellcam.stacks.optional_packages import reading_package
from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, PixelSize
from cellcam.stacks.tiff import open_tiff, readable_tiff

# What states a pixel size of the specimen. tiffslide also takes resolutions as for printing.
_STATED_BY = {"aperio": "aperio.MPP", "hamamatsu": "tiffslide.mpp-x", "leica": "tiffslide.mpp-x"}


class SlideFacts(NamedTuple):
    """What tiffslide says about a file.

    Attributes
    ----------
    series : number of the slide among the images of the file; None where it is several images
    pixel_size_um : of its full resolution
    """

    series: int | None
    pixel_size_um: PixelSize


def open_slide(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open a slide, see `cellcam.stacks.image_file.Opener`.

    Parameters
    ----------
    series : number of an image in the file; None: the slide, and not its label or overview
    """
    facts = _facts(path)
    image = open_tiff(path, axes, facts.series if series is None else series)
    if series not in (None, facts.series) or facts.series is None:
        return image
    known = replace(image.metadata, pixel_size_um=facts.pixel_size_um)
    return replace(image, metadata=known)


def _facts(path: Path) -> SlideFacts:
    tiffslide = reading_package("tiffslide", "tiffslide", path)
    # What could harm this process is refused first, and errors get their form.
    with readable_tiff(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiffslide tells which makers it knows in part only
        with tiffslide.TiffSlide(str(path)) as slide:
            facts: dict[str, Any] = dict(slide.properties)
    parts = facts.get("tiffslide.series-composition")
    if parts is not None and len(parts["located_series"]) > 1:
        return SlideFacts(None, UNKNOWN_PIXEL_SIZE)
    stated = facts.get(_STATED_BY.get(str(facts.get("tiffslide.vendor")), ""))
    size = [facts[f"tiffslide.mpp-{axis}"] for axis in "yx"] if stated else (None, None)
    return SlideFacts(int(facts["tiffslide.series-index"]), PixelSize(None, *map(_number, size)))


def _number(stated: object) -> float | None:
    return float(stated) if isinstance(stated, int | float | Fraction) else None
