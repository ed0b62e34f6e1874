"""The formats of images that can be read: their endings, and the function that opens each.

A format of this package is an entry of `FORMATS` and a file beside this one. Other packages add
formats through the entry-point group ``cellcam.readers``: each entry is a `Format`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name

from cellcam.errors import UsageError
from cellcam.stacks.image_file import Opener


@dataclass(frozen=True)
class Format:
    """One format of image files.

    Attributes
    ----------
    name : for people
    endings : in lower case, with their dot
    opener : ``"module:function"`` of an `Opener`, imported when a file is opened
    is_folder : whether an image is a folder
    """

    name: str
    endings: tuple[str, ...]
    opener: str
    is_folder: bool = False

    def open_function(self) -> Opener:
        """The function that opens a file of this format."""
        opener: Opener = resolve_name(self.opener)
        return opener


TIFF = Format("TIFF", (".tif", ".tiff"), "cellcam.stacks.tiff:open_tiff")
OME_ZARR = Format("OME-Zarr", (".zarr",), "cellcam.stacks.ome_zarr:open_ome_zarr", is_folder=True)
FORMATS = (
    TIFF,
    Format("picture", (".jpg", ".jpeg", ".png", ".bmp"), "cellcam.stacks.pictures:open_picture"),
    OME_ZARR,
    Format("Zeiss CZI", (".czi",), "cellcam.stacks.czi:open_czi"),
    Format("Nikon ND2", (".nd2",), "cellcam.stacks.nd2:open_nd2"),
    Format("Leica LIF", (".lif",), "cellcam.stacks.lif:open_lif"),
    Format("slide", (".svs", ".ndpi", ".scn"), "cellcam.stacks.slides:open_slide"),
)
_ZARR_GROUP = ("zarr.json", ".zgroup")


@lru_cache(1)
def known_formats() -> tuple[Format, ...]:
    """The formats of this package and of installed reader plugins.

    Raises
    ------
    UsageError
        If a plugin cannot be loaded.
    """
    return (*FORMATS, *map(_format_of_plugin, entry_points(group="cellcam.readers")))


def format_of(path: Path) -> Format:
    """Format of a path by its ending; TIFF for unknown endings, which flavours of TIFF have.

    A folder inside an OME-Zarr, such as a field of a plate, has no ending.
    """
    ending = path.suffix.lower()
    known = next((known for known in known_formats() if ending in known.endings), None)
    if known is None and any((path / name).is_file() for name in _ZARR_GROUP):
        return OME_ZARR
    return known or TIFF


def file_endings() -> tuple[str, ...]:
    """Endings of all formats in which an image is one file."""
    return tuple(e for known in known_formats() if not known.is_folder for e in known.endings)


def folder_endings() -> tuple[str, ...]:
    """Endings of all formats in which an image is a folder."""
    return tuple(e for known in known_formats() if known.is_folder for e in known.endings)


def name_without_ending(name: str) -> str:
    """Name of an image without the ending of its format, and without ``.ome`` before it."""
    endings = "|".join(re.escape(e) for known in known_formats() for e in known.endings)
    return re.sub(rf"(\.ome)?({endings})$", "", name, flags=re.IGNORECASE)


def _format_of_plugin(plugin: EntryPoint) -> Format:
    try:
        loaded = plugin.load()
    except Exception as error:  # a plugin is other people's code
        raise UsageError(
            f"The reader plugin {plugin.name!r} cannot be loaded: {error}. Update or uninstall it."
        ) from error
    if not isinstance(loaded, Format):
        raise UsageError(f"The reader plugin {plugin.name!r} is no Format. Update or uninstall it.")
    return loaded
