"""The directory of a Zeiss CZI file: which tiles it holds, and where in the image.

libCZI, which reads the pixels, fills in what is not there. Only the directory tells which planes
were acquired. Layout: Zeiss, "ZISRAW (CZI) File Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cellcam.errors import InputError

_DIRECTORY_POSITION = struct.Struct("<84xq")
_SEGMENT = struct.Struct("<16sqqi124x")
_ENTRY = struct.Struct("<2s26xi")
_DIMENSION = struct.Struct("<4siifi")
_SMALLEST_ENTRY = _ENTRY.size + 2 * _DIMENSION.size


@dataclass(frozen=True)
class Tile:
    """A tile of the full resolution.

    Attributes
    ----------
    start, size : along each axis that the file has, such as T, C, Z, S (scene), Y, X
    """

    start: Mapping[str, int]
    size: Mapping[str, int]


def tiles_of(path: Path) -> list[Tile]:
    """Tiles of the full resolution of all images in a file.

    Raises
    ------
    InputError
        If the directory is damaged.
    """
    try:
        return list(_tiles(path))
    except (struct.error, OSError, ValueError, OverflowError, KeyError) as error:
        raise InputError(
            f"{path} is damaged or cut off: its list of tiles cannot be read ({error}). Copy or "
            "export it again."
        ) from error


def _tiles(path: Path) -> Iterator[Tile]:
    with open(path, "rb") as file:
        (position,) = _DIRECTORY_POSITION.unpack(file.read(_DIRECTORY_POSITION.size))
        file.seek(position)
        name, _, _, count = _SEGMENT.unpack(file.read(_SEGMENT.size))
        size = path.stat().st_size
        if name.rstrip(b"\0") != b"ZISRAWDIRECTORY":
            raise ValueError(f"none at byte {position}")
        if not 0 <= count * _SMALLEST_ENTRY <= size:
            raise ValueError(f"{count} tiles are declared in {size} bytes")
        content = file.read()
    place = 0
    for _ in range(count):
        kind, n_axes = _ENTRY.unpack_from(content, place)
        place += _ENTRY.size
        if kind != b"DV" or n_axes < 0:
            raise ValueError(f"an entry of the kind {kind!r}")
        axes = [_DIMENSION.unpack_from(content, place + i * _DIMENSION.size) for i in range(n_axes)]
        place += n_axes * _DIMENSION.size
        named = {name.rstrip(b"\0").decode("ascii", "replace"): rest for name, *rest in axes}
        # Coarser levels of the pyramid cover more pixels than they store; 0: as many.
        if all(named[axis][3] in (0, named[axis][1]) for axis in "XY"):
            yield Tile(
                {axis: start for axis, (start, *_) in named.items()},
                {axis: size for axis, (_, size, *_) in named.items()},
            )
