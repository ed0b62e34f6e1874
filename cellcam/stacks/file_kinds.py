"""What a file is by its first bytes, where its name promises something else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cellcam.errors import InputError

_READ = 1024
_EXPORT = "Export it as OME-TIFF, with Fiji (Bio-Formats) or the microscope's software."
_AS_TIFF = "Save the image as TIFF."


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes
    ----------
    name : for people, with its article
    pattern : regular expression that its first bytes match
    endings : names under which it can be opened
    advice : what to do with a file of another kind
    """

    name: str
    pattern: bytes
    endings: tuple[str, ...] = ()
    advice: str = _AS_TIFF


_TIFF = FileKind("a TIFF", rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)", (".tif", ".tiff"))
# Flavours of TIFF for camera raw data begin otherwise and are not read.
_KINDS = (
    _TIFF,
    FileKind("a JPEG picture", rb"\xff\xd8\xff", (".jpg", ".jpeg")),
    FileKind("a PNG picture", rb"\x89PNG\r\n\x1a\n", (".png",)),
    FileKind("a BMP picture", rb"BM.{4}\0\0\0\0.{4}[\x0c\x28\x40\x6c\x7c]\0", (".bmp",)),
    FileKind("a Zeiss CZI file", rb"ZISRAW", (".czi",)),
    FileKind("a Nikon ND2 file", rb"\xda\xce\xbe\x0a", (".nd2",)),
    FileKind("a JPEG 2000 picture or an old Nikon ND2 file", rb"\0\0\0\x0cjP  ", advice=_EXPORT),
    FileKind("a Leica LIF file", rb"\x70\0\0\0.{4}\x2a", (".lif",)),
    FileKind("a Leica XLEF project", rb"(\xef\xbb\xbf)?<\?xml.{0,200}<LMSDataContainer",
             advice=_EXPORT),
    FileKind("an Olympus OIB, Zeiss ZVI or old Office file", rb"\xd0\xcf\x11\xe0", advice=_EXPORT),
    FileKind("an Olympus OIF file", rb"\xff\xfe\[\0F\0i\0l\0e\0", advice=_EXPORT),
    FileKind("a DeltaVision or MRC file", rb".{96}(\xa0\xc0|\xc0\xa0)|.{208}MAP ", advice=_EXPORT),
    FileKind("a Gatan DM file", rb"\0\0\0(\x03.{4}|\x04.{8})\0\0\0[\0\x01]",
             advice=_EXPORT),
    FileKind("an HDF5 file, such as Imaris, ilastik or BigDataViewer write",
             rb"\x89HDF\r\n\x1a\n", advice=_EXPORT),
    FileKind("a DICOM file", rb".{128}DICM", advice=_EXPORT),
    FileKind("a NIfTI file", rb".{344}n(i1|\+1)\0|\x5c\x01\0\0n\+2\0", advice=_EXPORT),
    FileKind("an NRRD file", rb"NRRD000", advice=_EXPORT),
    FileKind("an ICS file", rb".{0,3}ics_version", advice=_EXPORT),
    FileKind("a FITS file", rb"SIMPLE  =", advice=_EXPORT),
    FileKind("a MATLAB file", rb"MATLAB 5\.0|MATLAB 7\.3"),
    FileKind("a NumPy array", rb"\x93NUMPY"),
    FileKind("a GIF picture", rb"GIF8[79]a"),
    FileKind("a WebP picture", rb"RIFF.{4}WEBP"),
    FileKind("an AVI film", rb"RIFF.{4}AVI "),
    FileKind("an MP4 film or HEIC picture", rb".{4}ftyp"),
    FileKind("a Photoshop file", rb"8BPS"),
    FileKind("a PDF", rb"%PDF"),
    FileKind("a zip archive", rb"PK(\x03\x04|\x05\x06)",
             advice="Unpack it and give the images inside."),
    FileKind("a compressed file (gzip, bzip2, xz, 7z, zstd or rar)",
             rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!",
             advice="Unpack it and give the image inside."),
    FileKind("a pointer of Git LFS, not the image itself", rb"version https://git-lfs",
             advice="Get the image with 'git lfs pull'."),
    FileKind("a web page, saved instead of the image", rb"\s*(<!doctype html|<html)",
             advice="Download the image again."),
)  # fmt: skip
_TEXT = FileKind("a text file", rb"[\x09\x0a\x0d\x20-\x7e\x80-\xff]{8,}\Z")
_ZEROS = FileKind("a file of zeros only, as a copy that broke off leaves it", rb"\0{8,}\Z",
                  advice="Copy it again.")  # fmt: skip

# Other files of microscopes: found in a folder, they are tried as TIFF, or get the reason.
MICROSCOPE_ENDINGS = (
    ".lof", ".xlef", ".oib", ".oif", ".oir", ".vsi", ".zvi", ".ims", ".dv", ".r3d", ".sld", ".sldy",
    ".mrxs", ".bif", ".lsm", ".stk", ".flex", ".qptiff", ".dcm", ".mrc", ".dm3", ".dm4",
)  # fmt: skip
_WANTED = {".tif": "TIFF", ".jpg": "picture"}


def kind_of(path: Path) -> FileKind | None:
    """Kind of a file by its first bytes; None where they are of no known kind."""
    with open(path, "rb") as file:
        begin = file.read(_READ)
    flags = re.DOTALL | re.IGNORECASE if begin.lstrip()[:1] == b"<" else re.DOTALL
    kinds = (*_KINDS, _TEXT, _ZEROS)
    return next((kind for kind in kinds if re.match(kind.pattern, begin, flags)), None)


def check_kind(path: Path, *endings: str) -> None:
    """Refuse a file that is certainly no file of the kind that has these endings.

    Raises
    ------
    InputError
        Says what the file is, and what to do.
    """
    try:
        kind, size = kind_of(path), path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    wanted = _WANTED.get(endings[0], f"{endings[0][1:].upper()} file")
    if size == 0:
        raise InputError(f"{path} is no {wanted} that can be read: it is empty. Copy it again.")
    if kind is None or set(kind.endings) & set(endings):
        return
    advice = kind.advice
    if path.name.endswith("_seg.npy"):
        kind_name, advice = (
            "a segmentation of Cellpose",
            ("Save the masks as TIFF, in Cellpose with File > Save masks as PNG/tif."),
        )
    else:
        kind_name = kind.name
    if kind.endings:
        advice = f"Rename it to {path.with_suffix(kind.endings[0]).name}."
    raise InputError(f"{path} is no {wanted} that can be read, but {kind_name}. {advice}")
