"""The images of an OME-TIFF whose planes are in the file itself.

A file of a multi-position set carries, or refers to, the description of all positions. Here it
becomes a description of its own images, so that each file of the set opens as its own position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cellcam.errors import InputError
from cellcam.stacks.ome_xml import (
    check_modulo,
    check_references,
    check_sizes,
    children,
    companion_of,
    description_of,
    file_name,
    parsed,
    tiff_data,
    uuid_of,
    xml_in,
)

if TYPE_CHECKING:
    from tifffile import TiffFile


@dataclass(frozen=True)
class OmeImages:
    """The images whose planes, all or some, a file holds.

    Attributes
    ----------
    xml : OME-XML of these images alone
    descriptions : for each image, OME-XML of what is read of it, see `description_of`
    plane_files : for each image, the files that hold its planes, in order of their names
    companion : file that holds the description; None where it is the file itself
    """

    xml: str
    descriptions: tuple[str, ...]
    plane_files: tuple[tuple[Path, ...], ...]
    companion: Path | None = None

    def files(self, number: int) -> tuple[Path, ...]:
        """All files that an image needs, where these are several."""
        needed = {*self.plane_files[number], *([self.companion] if self.companion else [])}
        return tuple(sorted(needed)) if len(needed) > 1 else ()

    def missing_files(self, number: int) -> list[str]:
        """Names of the files of an image that are not there."""
        return [file.name for file in self.plane_files[number] if not file.is_file()]

    def notes(self, number: int) -> tuple[str, ...]:
        """That the planes of an image are in several files, if they are."""
        names = [file.name for file in self.plane_files[number]]
        if len(names) < 2:
            return ()
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (f"The image is in {len(names)} files: {listed}.",)


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
    root, companion = _whole_description(first.description, path)
    images = list(children(root, "Image"))
    mine = _OwnPlanes.of(root, path, companion)
    kept = _without_repeats([image for image in images if mine.of_image(image)], mine, path)
    if not kept:
        raise InputError(_no_planes(root, path))
    files = tuple(_files_of(image, mine, path) for image in kept)
    for image in images:
        if image not in kept:
            root.remove(image)
    # For tifffile, planes without a UUID are planes of the file itself.
    root.attrib.pop("UUID", None)
    for data in mine.planes:
        for child in list(children(data, "UUID")):
            data.remove(child)
    described = tuple(_alone(root, description_of(image)) for image in kept)
    return OmeImages(ET.tostring(root, encoding="unicode"), described, files, companion)


def _whole_description(xml: str, path: Path) -> tuple[ET.Element, Path | None]:
    """Checked OME-XML of a file or of its companion, with the file's own UUID; the companion."""
    root = parsed(xml, path)
    companion = companion_of(root, path)
    if companion is not None:
        uuid = root.get("UUID", "")
        root = parsed(xml_in(companion), companion)
        root.set("UUID", uuid)
    for image in children(root, "Image"):
        check_sizes(image, path)
    check_modulo(root, path)
    check_references(root, path)
    return root, companion


@dataclass(frozen=True)
class _OwnPlanes:
    """``TiffData`` elements whose planes are in the file itself."""

    planes: frozenset[ET.Element]

    @classmethod
    def of(cls, root: ET.Element, path: Path, companion: Path | None) -> _OwnPlanes:
        """Planes that name the file; or have its UUID; or those of a file that was renamed."""
        everything = [data for image in children(root, "Image") for data in tiff_data(image)]
        named = [data for data in everything if file_name(data).lower() == path.name.lower()]
        if named:
            return cls(frozenset(named))
        unreferred = [data for data in everything if next(children(data, "UUID"), None) is None]
        if unreferred and companion is None:
            return cls(frozenset(unreferred))
        uuid = root.get("UUID")
        same = [data for data in everything if uuid and uuid_of(data) == uuid]
        if same:
            return cls(frozenset(same))
        names = {file_name(data) for data in everything}
        renamed = len(names) == 1 and companion is None and not (path.parent / names.pop()).exists()
        return cls(frozenset(everything if renamed else ()))

    def of_image(self, image: ET.Element) -> list[ET.Element]:
        """Own planes of one image."""
        return [data for data in tiff_data(image) if data in self.planes]


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
    pixels = list(children(image, "Pixels"))
    channels = [channel for part in pixels for channel in children(part, "Channel")]
    elements = [*pixels, *channels]
    return [{k: v for k, v in element.attrib.items() if k != "ID"} for element in elements]


def _alone(root: ET.Element, image: ET.Element) -> str:
    """OME-XML of one image."""
    whole = ET.Element(root.tag, {k: v for k, v in root.attrib.items() if k != "UUID"})
    whole.append(image)
    return ET.tostring(whole, encoding="unicode")


def _files_of(image: ET.Element, mine: _OwnPlanes, path: Path) -> tuple[Path, ...]:
    others = [data for data in tiff_data(image) if data not in mine.planes]
    names = {file_name(data) for data in others} - {""}
    return tuple(sorted({path, *(path.parent / name for name in names)}))


def _no_planes(root: ET.Element, path: Path) -> str:
    named = [file_name(data) for image in children(root, "Image") for data in tiff_data(image)]
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
