"""OME-TIFF files whose XML is written by hand, as microscopes write sets of files."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome(content: str, uuid: str | None = None) -> str:
    stated = f' UUID="urn:uuid:{uuid}"' if uuid else ""
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SCHEMA}"{stated}>{content}</OME>'


def image_xml(
    number: int,
    shape: tuple[int, ...],
    planes: str,
    *,
    pixel_um: float = 0.5,
    channels: Sequence[str] = ("DNA",),
    dtype: str = "uint16",
) -> str:
    """``Image`` element of (T, C, Z, Y, X) pixels in the order XYZCT; ``planes`` are TiffData."""
    t, c, z, y, x = shape
    named = "".join(
        f'<Channel ID="Channel:{number}:{i}" SamplesPerPixel="1" Name="{name}"/>'
        for i, name in enumerate(channels)
    )
    return (
        f'<Image ID="Image:{number}" Name="position {number}">'
        f'<Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="{dtype}" SizeX="{x}" '
        f'SizeY="{y}" SizeZ="{z}" SizeC="{c}" SizeT="{t}" PhysicalSizeX="{pixel_um}" '
        f'PhysicalSizeY="{pixel_um}">{named}{planes}</Pixels></Image>'
    )


def tiff_data(
    ifd: int | None = None,
    count: int | None = None,
    first: tuple[int, int, int] = (0, 0, 0),
    file: tuple[str, str] | None = None,
) -> str:
    """``TiffData`` element; ``first`` is (t, c, z), ``file`` its name and UUID."""
    t, c, z = first
    attributes = f' FirstT="{t}" FirstC="{c}" FirstZ="{z}"'
    attributes += "" if ifd is None else f' IFD="{ifd}"'
    attributes += "" if count is None else f' PlaneCount="{count}"'
    if file is None:
        return f"<TiffData{attributes}/>"
    name, uuid = file
    return f'<TiffData{attributes}><UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>'


def write_planes(path: Path, planes: NDArray[np.generic], description: str) -> None:
    """Planes (N, Y, X) as pages, the description in the first."""
    with tifffile.TiffWriter(path) as tif:
        for i, plane in enumerate(planes):
            text = description.encode() if i == 0 else None
            tif.write(plane, description=text, metadata=None, contiguous=False)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 60000, shape).astype(np.uint16)


def write_positions(
    folder: Path,
    pixels: Sequence[NDArray[np.uint16]],
    *,
    kind: str = "all in all",
    name: str = "pos{i}.ome.tif",
) -> list[Path]:
    """A file for each position, (T, C, Z, Y, X); the description is where ``kind`` says.

    ``"all in all"``: every file has a UUID and the XML of all. ``"same xml"``: the same bytes,
    with the UUID of the first. ``"no uuid"``: file names only at the planes. ``"companion"``: in a
    file of its own. ``"master"``: in the first file. ``"nameless"``: no references at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.format(i=i) for i in range(len(pixels))]
    uuids = [f"0000000{i}-0000-4000-8000-000000000000" for i in range(len(pixels))]
    images = "".join(
        image_xml(
            i,
            data.shape,
            tiff_data(0, int(np.prod(data.shape[:3])), file=None if kind == "nameless" else file),
        )
        for i, (data, file) in enumerate(zip(pixels, zip(names, uuids, strict=True), strict=True))
    )
    paths = [folder / file for file in names]
    for i, (path, data) in enumerate(zip(paths, pixels, strict=True)):
        text = ome(images, uuids[i])
        if kind == "same xml":
            text = ome(images, uuids[0])
        elif kind in ("no uuid", "nameless"):
            text = ome(images)
        elif kind == "companion" or (kind == "master" and i > 0):
            other = "set.companion.ome" if kind == "companion" else names[0]
            text = ome(f'<BinaryOnly MetadataFile="{other}" UUID="urn:uuid:other"/>', uuids[i])
        write_planes(path, data.reshape(-1, *data.shape[-2:]), text)
    if kind == "companion":
        (folder / "set.companion.ome").write_text(ome(images, "other"), "utf-8")
    return paths


def write_micro_manager(folder: Path, planes: Sequence[NDArray[np.uint16]]) -> list[Path]:
    """A file of one plane (Y, X) for each position, with Micro-Manager's header and all OME-XML."""
    names = [f"run_MMStack_Pos{i}.ome.tif" for i in range(len(planes))]
    uuids = [f"0000000{i}-0000-4000-8000-000000000000" for i in range(len(planes))]
    files = list(zip(names, uuids, strict=True))
    images = "".join(
        image_xml(i, (1, 1, 1, *plane.shape), tiff_data(0, 1, file=files[i]))
        for i, plane in enumerate(planes)
    )
    facts = {"MicroManagerVersion": "1.4", "Frames": 1, "Slices": 1, "Channels": 1}
    summary = json.dumps({**facts, "Positions": len(planes), "Prefix": "run"}).encode()
    for i, (plane, (name, uuid)) in enumerate(zip(planes, files, strict=True)):
        own = b"{}\0"
        xml = ome(images, uuid).encode() + b"\0" + own
        index = 40 + len(summary)
        page = index + 8 + 20
        place = page + 2 + 11 * 12 + 4
        tags = [(256, 4, 1, plane.shape[1]), (257, 4, 1, plane.shape[0]), (258, 3, 1, 16),
                (259, 3, 1, 1), (262, 3, 1, 1), (270, 2, len(xml) - len(own), place),
                (273, 4, 1, place + len(xml)), (277, 3, 1, 1), (278, 4, 1, plane.shape[0]),
                (279, 4, 1, plane.nbytes),
                (51123, 2, len(own), place + len(xml) - len(own))]  # fmt: skip
        header = struct.pack("<2sHI", b"II", 42, page)
        header += struct.pack("<8I", 54773648, index, 483765892, 0, 99384722, 0, 2355492,
                              len(summary))  # fmt: skip
        content = header + summary + struct.pack("<7I", 3453623, 1, 0, 0, 0, i, page)
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
        (folder / name).write_bytes(content + xml + plane.astype("<u2").tobytes())
    return [folder / name for name in names]


def without_tile(path: Path, page: int, tile: int) -> None:
    """Set the size of a tile to 0 in its list, as writers of sparse files do."""
    with tifffile.TiffFile(path) as tif:
        entry = tif.pages[page].tags["TileByteCounts"]
        code = {3: "H", 4: "I", 16: "Q"}[int(entry.dtype)]
        place, size = entry.valueoffset, struct.calcsize(code)
    content = bytearray(path.read_bytes())
    content[place + tile * size : place + (tile + 1) * size] = bytes(size)
    path.write_bytes(content)
