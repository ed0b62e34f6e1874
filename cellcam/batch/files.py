"""Files of images below a folder; those that cannot be used are found, too, with the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cellcam.errors import UsageError
from cellcam.stacks.file_kinds import MICROSCOPE_ENDINGS
from cellcam.stacks.formats import (
    OME_ZARR,
    file_endings,
    folder_endings,
    format_of,
    name_without_ending,
)

_RESULT = re.compile(r"(.+)\.(?:(?:labels|maps)\.ome\.(?:tif|zarr)|overview\.png)", re.DOTALL)


@dataclass(frozen=True)
class FoundFile:
    """A file, or folder, that an image is in.

    Attributes
    ----------
    name : path below the folder that was searched, without the ending of a known format
    unusable : why it is not opened; empty where it is
    """

    path: Path
    name: str
    unusable: str = ""


def files_below(path: Path) -> Iterator[FoundFile]:
    """Images in a folder and its subfolders, or the one image that a path is.

    Links are followed where the user names them, and inside the folder: not out of it.

    Raises
    ------
    UsageError
        If there is nothing.
    """
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if not is_there:
        raise UsageError(f"There is no folder or image {path}. Check the path.")
    if not is_folder or _is_image_folder(path):
        return iter([FoundFile(path.absolute(), _text(name_without_ending(path.name)))])
    return _found_in(path.absolute())


def _is_image_folder(path: Path) -> bool:
    return path.suffix.lower() in folder_endings() or format_of(path) is OME_ZARR


def _found_in(root: Path) -> Iterator[FoundFile]:
    unreadable: list[OSError] = []
    inside = root.resolve()
    files, folders = (*file_endings(), *MICROSCOPE_ENDINGS), folder_endings()
    for place, below, names in os.walk(root, onerror=unreadable.append):
        for name in sorted(below):
            folder = Path(place, name)
            if folder.suffix.lower() in folders and not name.startswith("."):
                below.remove(name)
                if _is_result(folder):
                    continue
                yield FoundFile(folder, _name(folder, root), _bad_link(folder, inside))
            elif folder.is_symlink() and (problem := _bad_link(folder, inside)):
                yield FoundFile(folder, _name(folder, root), problem)
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix.lower() in files and not (name.startswith(".") or _is_result(file)):
                problem = _bad_link(file, inside) or _no_file(file)
                yield FoundFile(file, _name(file, root), problem)
    for error in unreadable:
        folder = Path(error.filename)
        problem = f"The folder {folder} cannot be read: {error.strerror}."
        yield FoundFile(folder, _name(folder, root), problem)


def _bad_link(path: Path, root: Path) -> str:
    """Why a link is not followed; empty where it is, or where the path is no link."""
    if not path.is_symlink():
        return ""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, or links in a circle
        return f"{path} is a link to {os.readlink(path)}, where nothing is. Copy the file."
    if target.is_relative_to(root):
        return ""
    return (
        f"{path} is a link out of its folder, to {target}. To use it, give that path itself, or "
        "copy the file."
    )


def _is_result(path: Path) -> bool:
    """Whether this is a result of CellCam: the table of its cells lies beside it."""
    of_image = _RESULT.fullmatch(path.name)
    return of_image is not None and path.with_name(f"{of_image[1]}.cells.parquet").is_file()


def _no_file(path: Path) -> str:
    """Why what has the name of a file is none; empty for a file."""
    if path.is_file() or not path.exists():
        return ""
    return f"{path} is a pipe, a socket or a device, not a file with an image. Remove it."


def _name(path: Path, root: Path) -> str:
    name = name_without_ending(path.relative_to(root).as_posix()) if path != root else path.name
    return _text(name)


def _text(name: str) -> str:
    """A name as text; one whose bytes are no text gets a digest, so that it stays unique."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if text == name:
        return name
    digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{text.replace(chr(0xFFFD), '_')}~{digest}"
