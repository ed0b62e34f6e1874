"""The input images of a batch: their files, names, and the plate, well and site in the names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from cellcam.batch.files import FoundFile, files_below
from cellcam.errors import CellCamError, UsageError
from cellcam.stacks.formats import file_endings, folder_endings, name_without_ending

# A well as microscopes write it, between separators: B03, or W0002; a site: s3, or P001.
_WELL = re.compile(r"(?:^|[_\-. /])(?P<Well>[A-P](?:0[1-9]|1\d|2[0-4])|W\d{4})(?=[_\-. /]|$)")
_SITE = re.compile(r"(?:^|[_\-. /])(?P<Site>s\d{1,3}|P\d{3})(?=[_\-. /]|$)")
_END_BYTES = 2**16


@dataclass(frozen=True)
class FileState:
    """A file at a moment; with another content it counts as another input.

    Attributes
    ----------
    size, changed_ns : bytes, and time of the last change as the file system says it
    ends : hash of the first and the last 64 KiB: copying can keep size and time
    """

    path: Path
    size: int
    changed_ns: int
    ends: str = ""

    @classmethod
    def of(cls, path: Path) -> FileState:
        """State of a file, or of all files of an image that is a folder.

        A file that cannot be seen gets the size -1, and is refused later.
        """
        try:
            inside = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
            states = [file.stat() for file in inside or [path]]
        except OSError:
            return cls(path, -1, 0)
        size = sum(s.st_size for s in states)
        # What is no file, such as a pipe, would be waited for.
        ends = _hash_of_ends(path, size) if path.is_file() else ""
        return cls(path, size, max(s.st_mtime_ns for s in states), ends)


@dataclass(frozen=True)
class InputImage:
    """An image to work on.

    Attributes
    ----------
    name : name of its results: path below the folder that was given, without the ending
    file : the image
    labels : the user's label image, or None
    parts : all files of an image that is several files
    unusable : why it cannot be used, where that is seen without opening it
    """

    name: str
    file: FileState
    labels: FileState | None = None
    parts: tuple[FileState, ...] = ()
    unusable: str = ""


def check_unchanged(image: InputImage) -> None:
    """Raise `CellCamError` if the files of an image are no longer those that were planned.

    Without it the results of two contents could be mixed.
    """
    for file in (image.file, image.labels, *image.parts):
        if file is not None and FileState.of(file.path) != file:
            raise CellCamError(
                f"{file.path} was changed while the batch worked on it. Give the same command "
                "again when it is complete."
            )


def list_images(paths: Sequence[Path], labels: str | None = None) -> list[InputImage]:
    """Images in folders and their subfolders, in order of their names.

    Parameters
    ----------
    paths : folders, or single images
    labels : where each image's label image is, such as ``"masks/{name}.tif"``, seen from the
        image's folder; ``{name}`` is the file's name without its ending

    Raises
    ------
    UsageError
        If a path does not exist, there is no image at all, or ``labels`` makes no sense.
    """
    found: dict[Path, FoundFile] = {}
    for path in paths:
        for file in files_below(path):
            found.setdefault(file.path, file)
    # Two folders, or two endings, can lead to one name: their results need two.
    shared = Counter(file.name for file in found.values())
    images = []
    for path, file in found.items():
        label_file = _label_file(path, labels) if labels else None
        name = f"{file.name}~{_digest(path)}" if shared[file.name] > 1 else file.name
        images.append((replace(file, name=name), label_file))
    label_files = {label_file for _, label_file in images}
    listed = [
        InputImage(
            file.name,
            FileState.of(file.path),
            FileState.of(label_file) if label_file else None,
            unusable=file.unusable,
        )
        for file, label_file in images
        if file.unusable or file.path.resolve() not in label_files
    ]
    if not listed:
        searched = ", ".join(map(str, paths))
        known = ", ".join((*file_endings(), *folder_endings()))
        raise UsageError(f"There is no image in {searched}. Known endings: {known}.")
    return sorted(listed, key=lambda image: image.name)


def _label_file(image: Path, labels: str) -> Path:
    try:
        named = labels.format(name=name_without_ending(image.name))
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"--labels {labels}: cannot be understood ({error!r}). Write the path of the label "
            "images with {name} for the name of the image, such as masks/{name}.tif."
        ) from error
    return (image.parent / named).resolve()


def _digest(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:8]


def metadata_of(name: str, pattern: str | None) -> dict[str, str]:
    r"""Plate, well and site in the name of an image, as ``Metadata_`` columns.

    Parameters
    ----------
    name : as in `InputImage`
    pattern : regular expression with named groups, such as
        ``(?P<Plate>[^/]+)/(?P<Well>[A-P]\d\d)``; by default wells and sites are
        recognised as microscopes write them, and the plate is the folder of a well
    """
    if pattern is not None:
        match = re.search(pattern, name)
        groups = match.groupdict(default="") if match else dict.fromkeys(_groups(pattern), "")
    else:
        groups = {}
        folder, _, file = name.rpartition("/")
        for known in (_WELL, _SITE):
            if match := known.search(file):
                groups |= match.groupdict()
        if "Well" in groups and folder:
            groups["Plate"] = folder
    return {f"Metadata_{key}": value for key, value in groups.items()}


def check_pattern(pattern: str | None) -> None:
    """Raise `UsageError` for a pattern without named groups."""
    try:
        named = pattern is None or _groups(pattern)
    except re.error as error:
        raise UsageError(f"The pattern {pattern!r} is no regular expression: {error}.") from error
    if not named:
        raise UsageError(
            f"The pattern {pattern!r} names nothing. Write for instance (?P<Well>[A-P]\\d\\d)."
        )


def _hash_of_ends(path: Path, size: int) -> str:
    try:
        with open(path, "rb") as file:
            content = sha256(file.read(_END_BYTES))
            file.seek(max(_END_BYTES, size - _END_BYTES))
            content.update(file.read(_END_BYTES))
    except OSError:
        return ""
    return content.hexdigest()[:24]


def _groups(pattern: str) -> list[str]:
    return list(re.compile(pattern).groupindex)
