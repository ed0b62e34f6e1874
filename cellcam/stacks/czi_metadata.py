"""Channels and scale in the XML of a Zeiss CZI file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from cellcam.errors import InputError
from cellcam.stacks.image_file import Metadata
from cellcam.stacks.stack import PixelSize

_UM_PER_M = 1e6
_LARGEST_XML = 2**28
_DIMENSIONS = "Metadata/Information/Image/Dimensions"


def czi_metadata(xml: str, path: Path) -> Metadata:
    """Names of channels, pixel size and time step; what the file does not state is left out.

    Raises
    ------
    InputError
        If the XML is damaged or hostile.
    """
    root = _parsed(xml, path)
    names = [channel.get("Name") for channel in root.iterfind(f"{_DIMENSIONS}/Channels/Channel")]
    sizes = (
        _number(root, f"Metadata/Scaling/Items/Distance[@Id='{axis}']/Value") for axis in "ZYX"
    )
    z, y, x = (size and size * _UM_PER_M for size in sizes)
    step = _number(root, f"{_DIMENSIONS}/T/Positions/Interval/Increment")
    return Metadata(names, PixelSize(z, y, x), step)


def scene_names(xml: str, path: Path) -> dict[int, str]:
    """Names of the scenes that have one, by their number."""
    scenes: Iterator[ET.Element] = _parsed(xml, path).iterfind(f"{_DIMENSIONS}/S/Scenes/Scene")
    stated = {scene.get("Index", ""): scene.get("Name", "") for scene in scenes}
    return {int(i): name for i, name in stated.items() if i.isdecimal() and name}


def _parsed(xml: str, path: Path) -> ET.Element:
    if len(xml) > _LARGEST_XML or re.search(r"<!\s*(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise InputError(
            f"{path}: its metadata are larger than those of any image, or declare entities, as CZI "
            "never does. Refused; export the image again."
        )
    try:
        return ET.fromstring(xml)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: its metadata are damaged ({error}). Copy or export it again."
        ) from error


def _number(root: ET.Element, place: str) -> float | None:
    """A positive number; None where it is not stated."""
    try:
        number = float(root.findtext(place, ""))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
