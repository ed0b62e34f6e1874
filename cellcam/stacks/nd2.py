"""Open Nikon ND2 files: bioio's plugin, and what it does not say of calibration and lost frames.

A frame is a plane with all its channels. An acquisition that was stopped lists fewer frames than it
planned; nd2 reads the others as zeros.
"""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from cellcam.errors import InputError
from cellcam.stacks.bioio_files import Facts, open_with_plugin
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile

if TYPE_CHECKING:
    import xarray as xr

_END = struct.Struct("<32sQ")  # signature of the list of chunks, and where it is
_HEAD = struct.Struct("<IIQ")  # mark of a chunk, length of its name, length of its data
_PLACE = struct.Struct("<QQ")
_LISTED = re.compile(rb"([ -~]+?!)(.{16})", re.DOTALL)
_FRAME = re.compile(rb"ImageDataSeq\|(\d+)!")
_MARK, _LONGEST_NAME = 0x0ABECEDA, 2**16


def open_nd2(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open a position of an ND2 file, see `cellcam.stacks.image_file.Opener`.

    The file states its axes: ``axes`` change nothing.
    """
    check_kind(path, ".nd2")
    try:
        frames = frames_in(path)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{path} is damaged or cut off: {error}. Copy it again.") from error
    return open_with_plugin(path, "bioio-nd2", series, partial(_facts, frames))


def _facts(frames: set[int], path: Path, position: int, image: xr.DataArray) -> Facts:
    import nd2

    with nd2.ND2File(path) as file:
        channels = file.metadata.channels if file.metadata else None
        x, y, z = channels[0].volume.axesCalibrated if channels else (False, False, False)
        places = file.loop_indices
    outer = [axis for axis in map(str, image.dims) if axis in "TCZ"]
    absent = np.zeros([image.sizes[axis] for axis in outer], bool)
    for frame, place in enumerate(places):
        if frame not in frames and place.get("P", 0) == position:
            absent[tuple(place.get(axis, slice(None)) for axis in outer)] = True
    return Facts((z, y, x), absent=absent)


def frames_in(path: Path) -> set[int]:
    """Numbers of the frames that are whole in a file.

    Raises
    ------
    ValueError, struct.error
        If its list of chunks, or one that is no frame, is not whole. nd2 takes memory for the
        lengths that are declared.
    """
    size = path.stat().st_size
    frames = set()
    with open(path, "rb") as file:
        file.seek(max(0, size - _END.size))
        signature, start = _END.unpack(file.read(_END.size))
        if not signature.startswith(b"ND2 CHUNK MAP SIGNATURE") or not _is_whole(file, start, size):
            raise ValueError("its list of frames is missing")
        file.seek(start)
        listed = file.read().partition(b"FILEMAP SIGNATURE NAME 0001!")[2]
        for name, place in _LISTED.findall(listed[: -_END.size]):
            is_whole = _is_whole(file, _PLACE.unpack(place)[0], size)
            if frame := _FRAME.fullmatch(name):
                frames |= {int(frame[1])} if is_whole else set()
            elif not is_whole:
                raise ValueError(f"its part {name.decode()} is not whole")
    return frames


def _is_whole(file: BinaryIO, start: int, size: int) -> bool:
    file.seek(min(start, size))
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return False
    mark, name, data = _HEAD.unpack(head)
    return bool(mark == _MARK and name < _LONGEST_NAME and start + len(head) + name + data <= size)
