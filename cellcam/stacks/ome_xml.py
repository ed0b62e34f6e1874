"""OME-XML of a TIFF or of its companion file: read, and refused where it is damaged or hostile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from xml.etree import ElementTree as ET

from cellcam.errors import NOT_THE_FILE, InputError

_LARGEST_XML = 2**28
# Readers allocate lists of the declared lengths before they look for the planes.
_MOST_PLANES = 2**22
_READ = ("DimensionOrder", "Type", "Size", "PhysicalSize", "TimeIncrement")
_LENGTHS = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
# Units as OME's schema writes them, for the names that other writers use. Units that no microscope
# needs, such as light years, are left out: a length in them is not known.
_LENGTH_UNITS = {
    **{unit: unit for unit in ("pm", "Å", "nm", "µm", "mm", "cm", "m", "in")},
    **dict.fromkeys(["um", "μm", "micron", "microns", r"\u00b5m"], "µm"),
    **dict.fromkeys(["micrometer", "micrometers", "micrometre", "micrometres"], "µm"),
    **dict.fromkeys(["nanometer", "nanometers", "nanometre", "nanometres"], "nm"),
    **dict.fromkeys(["millimeter", "millimeters", "millimetre", "millimetres"], "mm"),
    "inch": "in",
}
_TIME_UNITS = {
    **{unit: unit for unit in ("ns", "µs", "ms", "s", "min", "h", "d")},
    **dict.fromkeys(["us", "μs", "microsecond", "microseconds"], "µs"),
    **dict.fromkeys(["msec", "millisecond", "milliseconds"], "ms"),
    **dict.fromkeys(["sec", "second", "seconds"], "s"),
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
}
_COUNTS = ("IFD", "PlaneCount", "NumPlanes", "FirstT", "FirstC", "FirstZ")


def description_of(image: ET.Element) -> ET.Element:
    """What is read of an ``Image``: sizes, scale, and channels with their names.

    Elsewhere, files break the rules of the schema in many ways that do not matter here. A length
    that is no positive number, or of an unknown unit, is one that the writer did not know.
    """
    kept = ET.Element(image.tag, {"ID": "Image:0"})
    for pixels in children(image, "Pixels"):
        known = {k: v for k, v in pixels.attrib.items() if k.startswith(_READ)}
        for key in _LENGTHS:
            _keep_known(known, key)
        part = ET.SubElement(kept, pixels.tag, {"ID": "Pixels:0", **known})
        for i, channel in enumerate(children(pixels, "Channel")):
            named = {k: v for k, v in channel.attrib.items() if k in ("Name", "SamplesPerPixel")}
            ET.SubElement(part, channel.tag, {"ID": f"Channel:0:{i}", **named})
    return kept


def _keep_known(attributes: dict[str, str], key: str) -> None:
    """Write the unit of a length as the schema does; drop a length that is not known."""
    unit = attributes.pop(f"{key}Unit", None)
    units = _TIME_UNITS if key == "TimeIncrement" else _LENGTH_UNITS
    kept = None if unit is None else _unit(unit.strip(), units)
    if (unit is not None and kept is None) or not _is_positive(attributes.get(key, "")):
        attributes.pop(key, None)
    elif kept is not None:
        attributes[f"{key}Unit"] = kept


def _unit(name: str, units: Mapping[str, str]) -> str | None:
    """Unit in the schema's words. Symbols differ by their case, as mm and Mm; names do not."""
    return units.get(name if len(name) < 3 else name.lower())


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < inf
    except ValueError:
        return False


def parsed(xml: str, path: Path) -> ET.Element:
    """Root of OME-XML that is well-formed, of a sensible size and free of entities."""
    if len(xml) > _LARGEST_XML:
        raise InputError(f"{path}: its OME-XML has {len(xml) / 2**20:.0f} MiB. Refused.")
    # Entities can grow without bounds and read other files; OME-XML has none.
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise InputError(
            f"{path}: its OME-XML declares a document type or entities, as OME-XML never does. "
            "Refused; export the image again from its source."
        )
    try:
        root = ET.fromstring(xml)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: its OME-XML is damaged ({error}). Export the image again."
        ) from error
    if not root.tag.endswith("OME"):
        raise InputError(f"{path}: its OME-XML begins with <{root.tag}>. Export the image again.")
    return root


def companion_of(root: ET.Element, path: Path) -> Path | None:
    """File with the description that a file of binary data alone refers to."""
    element = next(children(root, "BinaryOnly"), None)
    if element is None:
        return None
    name = element.get("MetadataFile", "")
    refuse_outside(path, name)
    companion = path.parent / name
    if not name or not companion.is_file():
        raise InputError(
            f"{path} holds pixels only; its description is in {name or 'a file that is not named'},"
            " which is not beside it. Copy that file into the same folder."
        )
    return companion


def xml_in(companion: Path) -> str:
    """OME-XML of a companion file, which is XML or another OME-TIFF."""
    import tifffile

    try:
        if companion.stat().st_size > _LARGEST_XML:
            with tifffile.TiffFile(companion) as tif:
                return str(tif.pages.first.description)
        content = companion.read_bytes()
        if content[:2] in (b"II", b"MM"):
            with tifffile.TiffFile(companion) as tif:
                return str(tif.pages.first.description)
        return content.decode("utf-8-sig")
    except NOT_THE_FILE:
        raise
    except Exception as error:  # a damaged file can make tifffile raise anything
        raise InputError(f"{companion} cannot be read: {error}. Copy it again.") from error


def refuse_outside(path: Path, name: str) -> None:
    """Raise `InputError` if ``name``, in the metadata of an image, is no file beside it."""
    if re.search(r"[/\\\0]", name) or name in (".", ".."):
        raise InputError(f"{path} refers to a file outside its folder: {name!r}. Refused.")
    try:
        leads_to = (path.parent / name).resolve().parent
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} refers to {name!r}, which cannot be read: {error}.") from error
    if name and name != path.name and leads_to != path.parent.resolve():
        raise InputError(
            f"{path} refers to {name!r}, which is a link to a file outside its folder. Refused."
        )


def check_sizes(image: ET.Element, path: Path) -> None:
    """Numbers of planes are numbers, and none that only an attack would declare."""
    for pixels in children(image, "Pixels"):
        planes = 1
        for size in ("SizeX", "SizeY", "SizeZ", "SizeC", "SizeT"):
            length = _whole(pixels, size, path)
            if not length:
                raise InputError(f"{path}: its OME-XML declares {size}={pixels.get(size)!r}.")
            planes *= length if size[-1] in "ZCT" else 1
        counts = [_whole(data, key, path) for data in tiff_data(image) for key in _COUNTS]
        if max(planes, *counts, 0) > _MOST_PLANES:
            raise InputError(
                f"{path}: its OME-XML declares {max(planes, *counts)} planes. Refused; export the "
                "image again."
            )


def check_modulo(root: ET.Element, path: Path) -> None:
    """Further axes in annotations: tifffile makes an array of their declared length."""
    for along in root.iter():
        if "ModuloAlong" not in str(along.tag):
            continue
        try:
            start, end = float(along.get("Start", 0)), float(along.get("End", 0))
            length = (end - start) / float(along.get("Step", 1))
        except (ValueError, ZeroDivisionError):
            length = float("nan")
        if not 0 <= length < _MOST_PLANES:
            raise InputError(f"{path}: its OME-XML declares an axis that makes no sense. Refused.")


def check_references(root: ET.Element, path: Path) -> None:
    """Raise `InputError` if planes are in a file that is not beside the image."""
    for data in root.iter():
        if str(data.tag).endswith("TiffData"):
            refuse_outside(path, file_name(data))


def _whole(element: ET.Element, key: str, path: Path) -> int:
    text = element.get(key, "0")
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise InputError(f"{path}: its OME-XML declares {key}={text[:40]!r}.")
    return int(text)


def children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Children of an element with this name in any namespace."""
    return (child for child in element if str(child.tag).rpartition("}")[2] == name)


def tiff_data(image: ET.Element) -> list[ET.Element]:
    """``TiffData`` elements of an image: where its planes are."""
    return [data for pixels in children(image, "Pixels") for data in children(pixels, "TiffData")]


def uuid_of(data: ET.Element) -> str:
    """UUID of the file with these planes; empty where none is stated."""
    return next((child.text or "" for child in children(data, "UUID")), "")


def file_name(data: ET.Element) -> str:
    """Name of the file with these planes; empty where none is stated."""
    return next((child.get("FileName", "") for child in children(data, "UUID")), "")
