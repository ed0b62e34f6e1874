"""Open Nikon ND2 files: bioio's plugin, and what it does not say of calibration and lost frames.

A frame is a plane with all its channels. An acquisition that was stopped lists fewer frames than it
planned; nd2 reads the others as zeros.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.stacks.bioio_files import Facts, open_with_plugin
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile

if TYPE_CHECKING:
    import xarray as xr

_MAP_PLACE, _CHUNK, _PLACE = struct.Struct("<32sQ"), struct.Struct("<IIQ"), struct.Struct("<QQ")
_FRAME = re.compile(rb"ImageDataSeq\|(\d+)!(.{16})", re.DOTALL)


def open_nd2(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open a position of an ND2 file, see `cellcam.stacks.image_file.Opener`.

    The file states its axes: ``axes`` change nothing.
    """
    check_kind(path, ".nd2")
    return open_with_plugin(path, "bioio-nd2", series, _facts)


def _facts(path: Path, position: int, image: xr.DataArray) -> Facts:
    import nd2

    with nd2.ND2File(path) as file:
        channels = file.metadata.channels if file.metadata else None
        x, y, z = channels[0].volume.axesCalibrated if channels else (False, False, False)
        places = file.loop_indices
    outer = [axis for axis in map(str, image.dims) if axis in "TCZ"]
    absent = np.zeros([image.sizes[axis] for axis in outer], bool)
    present = frames_in(path)
    for frame, place in enumerate(places):
        if frame not in present and place.get("P", 0) == position:
            absent[tuple(place.get(axis, slice(None)) for axis in outer)] = True
    return Facts((z, y, x), absent=absent)


def frames_in(path: Path) -> set[int]:
    """Numbers of the frames whose bytes are in a file.

    Raises
    ------
    ValueError, struct.error
        If its list of chunks is not there, as in a file that is cut off.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - _MAP_PLACE.size))
        signature, place = _MAP_PLACE.unpack(file.read(_MAP_PLACE.size))
        if not signature.startswith(b"ND2 CHUNK MAP SIGNATURE") or place >= size:
            raise ValueError("its list of frames is missing: it is cut off")
        file.seek(place)
        listed = file.read()
    found = ((int(n), *_PLACE.unpack(at)) for n, at in _FRAME.findall(listed))
    return {number for number, start, length in found if start + _CHUNK.size + length <= size}
