"""OME-XML of a TIFF: refused where it is hostile, and cut to the images whose planes a file holds.

A file of a multi-position set carries, or refers to, the description of all positions. Here it
becomes a description of its own images, so that each file of the set opens as its own position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cellcam.errors import InputError

if TYPE_CHECKING:
    from tifffile import TiffFile

_LARGEST_XML = 2**28
# Readers allocate lists of the declared lengths before they look for the planes.
_MOST_PLANES = 2**22
_READ = ("DimensionOrder", "Type", "Size", "PhysicalSize", "TimeIncrement")
_LENGTHS = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
_COUNTS = ("IFD", "PlaneCount", "NumPlanes", "FirstT", "FirstC", "FirstZ")


@dataclass(frozen=True)
class OmeImages:
    """The images whose planes, all or some, a file holds.

    Attributes
    ----------
    xml : OME-XML of these images alone
    descriptions : for each image, OME-XML of what is read of it, see `description_of`
    files : for each image, the files that its description needs, in order of their names
    """

    xml: str
    descriptions: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]

    def missing_files(self, number: int) -> list[str]:
        """Names of the files of an image that are not there."""
        return [file.name for file in self.files[number] if not file.is_file()]


def own_images(tif: TiffFile, path: Path) -> OmeImages | None:
    """Description of a file's own images; None for a file without OME-XML.

    Raises
    ------
    InputError
        If the XML is damaged or hostile, needs a file that is not there or lies outside the
        folder, or does not say which planes are in this file.
    """
    first = tif.pages.first
    if not first.is_ome:
        return None
    root = _parsed(first.description, path)
    companion = _companion(root, path)
    if companion is not None:
        uuid = root.get("UUID")
        root = _parsed(_xml_in(companion), companion)
        root.attrib.pop("UUID", None)
        if uuid is not None:
            root.set("UUID", uuid)
    images = list(_children(root, "Image"))
    for image in images:
        _check_sizes(image, path)
    _check_modulo(root, path)
    _check_references(root, path)
    mine = _OwnPlanes.of(root, path, companion)
    kept = _without_repeats([image for image in images if mine.of_image(image)], mine, path)
    if not kept:
        raise InputError(_no_planes(root, path))
    files = tuple(_files_of(image, mine, path, companion) for image in kept)
    for image in images:
        if image not in kept:
            root.remove(image)
    # For tifffile, planes without a UUID are planes of the file itself.
    root.attrib.pop("UUID", None)
    for data in mine.planes:
        for child in list(_children(data, "UUID")):
            data.remove(child)
    described = tuple(_alone(root, description_of(image)) for image in kept)
    return OmeImages(ET.tostring(root, encoding="unicode"), described, files)


@dataclass(frozen=True)
class _OwnPlanes:
    """``TiffData`` elements whose planes are in the file itself."""

    planes: frozenset[ET.Element]

    @classmethod
    def of(cls, root: ET.Element, path: Path, companion: Path | None) -> _OwnPlanes:
        """Planes that name the file; or have its UUID; or those of a file that was renamed."""
        everything = [data for image in _children(root, "Image") for data in _tiff_data(image)]
        named = [data for data in everything if _file_name(data).lower() == path.name.lower()]
        if named:
            return cls(frozenset(named))
        unreferred = [data for data in everything if next(_children(data, "UUID"), None) is None]
        if unreferred and companion is None:
            return cls(frozenset(unreferred))
        uuid = root.get("UUID")
        same = [data for data in everything if uuid and _uuid(data) == uuid]
        if same:
            return cls(frozenset(same))
        names = {_file_name(data) for data in everything}
        renamed = len(names) == 1 and companion is None and not (path.parent / names.pop()).exists()
        return cls(frozenset(everything if renamed else ()))

    def of_image(self, image: ET.Element) -> list[ET.Element]:
        """Own planes of one image."""
        return [data for data in _tiff_data(image) if data in self.planes]


def description_of(image: ET.Element) -> ET.Element:
    """What is read of an ``Image``: sizes, scale, and channels with their names.

    Elsewhere, files break the rules of the schema in many ways that do not matter here. A length
    that is no positive number is one that the writer did not know.
    """
    kept = ET.Element(image.tag, {"ID": "Image:0"})
    for pixels in _children(image, "Pixels"):
        known = {k: v for k, v in pixels.attrib.items() if k.startswith(_READ)}
        for key in [k for k in known if k in _LENGTHS and not _is_positive(known[k])]:
            del known[key]
        part = ET.SubElement(kept, pixels.tag, {"ID": "Pixels:0", **known})
        for i, channel in enumerate(_children(pixels, "Channel")):
            named = {k: v for k, v in channel.attrib.items() if k in ("Name", "SamplesPerPixel")}
            ET.SubElement(part, channel.tag, {"ID": f"Channel:0:{i}", **named})
    return kept


def _alone(root: ET.Element, image: ET.Element) -> str:
    """OME-XML of one image."""
    whole = ET.Element(root.tag, {k: v for k, v in root.attrib.items() if k != "UUID"})
    whole.append(image)
    return ET.tostring(whole, encoding="unicode")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < inf
    except ValueError:
        return False


def _parsed(xml: str, path: Path) -> ET.Element:
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


def _companion(root: ET.Element, path: Path) -> Path | None:
    """File with the description that a file of binary data alone refers to."""
    element = next(_children(root, "BinaryOnly"), None)
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


def _xml_in(companion: Path) -> str:
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


def _check_sizes(image: ET.Element, path: Path) -> None:
    """Numbers of planes are numbers, and none that only an attack would declare."""
    for pixels in _children(image, "Pixels"):
        planes = 1
        for size in ("SizeX", "SizeY", "SizeZ", "SizeC", "SizeT"):
            length = _whole(pixels, size, path)
            if not length:
                raise InputError(f"{path}: its OME-XML declares {size}={pixels.get(size)!r}.")
            planes *= length if size[-1] in "ZCT" else 1
        counts = [_whole(data, key, path) for data in _tiff_data(image) for key in _COUNTS]
        if max(planes, *counts, 0) > _MOST_PLANES:
            raise InputError(
                f"{path}: its OME-XML declares {max(planes, *counts)} planes. Refused; export the "
                "image again."
            )


def _check_modulo(root: ET.Element, path: Path) -> None:
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


def _check_references(root: ET.Element, path: Path) -> None:
    for data in root.iter():
        if str(data.tag).endswith("TiffData"):
            refuse_outside(path, _file_name(data))


def _without_repeats(images: list[ET.Element], mine: _OwnPlanes, path: Path) -> list[ET.Element]:
    """Images that claim planes of their own; of several alike with the same planes, the first."""
    kept: list[ET.Element] = []
    for image in images:
        rivals = [other for other in kept if _claims(other, mine) & _claims(image, mine)]
        if not rivals:
            kept.append(image)
        elif any(_described(image) != _described(other) for other in rivals):
            raise InputError(
                f"{path}: its OME-XML describes the same planes as several images of different "
                "kind. Export each image, or position, as a file of its own."
            )
    return kept


def _claims(image: ET.Element, mine: _OwnPlanes) -> set[int]:
    """Numbers in the file at which the planes of an image begin."""
    return {int(data.get("IFD", 0)) for data in mine.of_image(image)}


def _described(image: ET.Element) -> list[Mapping[str, str]]:
    """What is read of an image: sizes, scale, channel names."""
    pixels = list(_children(image, "Pixels"))
    channels = [channel for part in pixels for channel in _children(part, "Channel")]
    elements = [*pixels, *channels]
    return [{k: v for k, v in element.attrib.items() if k != "ID"} for element in elements]


def _files_of(
    image: ET.Element, mine: _OwnPlanes, path: Path, companion: Path | None
) -> tuple[Path, ...]:
    others = [data for data in _tiff_data(image) if data not in mine.planes]
    names = {_file_name(data) for data in others} - {""}
    files = {path, *(path.parent / name for name in names)}
    return tuple(sorted(files | ({companion} if companion else set())))


def _no_planes(root: ET.Element, path: Path) -> str:
    named = [_file_name(data) for image in _children(root, "Image") for data in _tiff_data(image)]
    names = sorted({name for name in named if name})
    if not names:
        return (
            f"{path} says it is an OME-TIFF, but its OME-XML does not describe its pages. Export "
            "it again."
        )
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"{path}: its OME-XML describes the planes of {listed}, and none of this file. Give the "
        "file the name that it had, or open one of these."
    )


def _whole(element: ET.Element, key: str, path: Path) -> int:
    text = element.get(key, "0")
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise InputError(f"{path}: its OME-XML declares {key}={text[:40]!r}.")
    return int(text)


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if str(child.tag).rpartition("}")[2] == name)


def _tiff_data(image: ET.Element) -> list[ET.Element]:
    return [data for pixels in _children(image, "Pixels") for data in _children(pixels, "TiffData")]


def _uuid(data: ET.Element) -> str:
    return next((child.text or "" for child in _children(data, "UUID")), "")


def _file_name(data: ET.Element) -> str:
    return next((child.get("FileName", "") for child in _children(data, "UUID")), "")
