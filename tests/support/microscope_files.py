"""Small files of microscopes and slide scanners with known pixels.

CZI are written by Zeiss' library and slides by tifffile. For LIF and ND2 no writer is published:
`write_lif` and `write_nd2` write the least that liffile and nd2, which read many real files, need.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile
from numpy.typing import NDArray


def write_czi(
    path: Path,
    scenes: Sequence[NDArray[Any]],
    channels: Sequence[str] = (),
    size_um: tuple[float, float, float] | None = None,
    tile: int | None = None,
    corners: Sequence[tuple[int, int]] = (),
    missing: Sequence[tuple[int, int, int]] = (),
) -> Path:
    """Write TCZYX or, as colours, TCZYXS images as the scenes of a CZI.

    Parameters
    ----------
    size_um : (z, y, x)
    tile : edge of the tiles; None for one
    corners : (y, x) of each scene in the coordinates of the file
    missing : (t, c, z) of planes that are left out of the first scene
    """
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for number, image in enumerate(scenes):
            top, left = corners[number] if corners else (0, 0)
            height, width = image.shape[3:5]
            edge = tile or max(height, width)
            for plane in np.ndindex(*image.shape[:3]):
                if number == 0 and plane in missing:
                    continue
                for y, x in product(range(0, height, edge), range(0, width, edge)):
                    pixels = image[plane][y : y + edge, x : x + edge]
                    # Samples are stored blue first.
                    pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., ::-1]
                    file.write(
                        np.ascontiguousarray(pixels),
                        location=(left + x, top + y),
                        plane=dict(zip("TCZ", plane, strict=True)),
                        scene=number,
                        compression_options="zstd1:",
                    )
        z, y, x = size_um or (None, None, None)
        scales = {f"scale_{a}": n * 1e-6 for a, n in zip("zyx", (z, y, x), strict=True) if n}
        file.write_metadata("cells", channel_names=dict(enumerate(channels)), **scales)
    return path


def write_svs(
    path: Path, slide: NDArray[np.uint8], mpp: float | None = 0.25, missing: bool = False
) -> Path:
    """Write a YXS slide as Aperio does: tiles, a thumbnail, a smaller level, label and overview.

    Parameters
    ----------
    mpp : pixel size in um; None leaves it out
    missing : whether the last tile has no bytes
    """
    height, width = slide.shape[:2]
    about = f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] (256x256)"
    about += "|AppMag = 40" + (f"|MPP = {mpp}" if mpp else "")
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(_tiles(slide, 64, missing), shape=slide.shape, dtype=slide.dtype, tile=(64, 64),
                   description=about, resolution=(72, 72), resolutionunit="inch",
                   compression="zlib", **options)  # fmt: skip
        file.write(slide[::8, ::8], description=about + "|thumbnail", **options)
        file.write(slide[::4, ::4], tile=(64, 64), description=about, **options)
        for name, kind in {"label": 1, "macro": 9}.items():
            about_it = f"Aperio Image Library v11.2.1\r\n{name} 40x30"
            file.write(slide[:30, :40], description=about_it, subfiletype=kind, **options)
    return path


def _tiles(slide: NDArray[np.uint8], edge: int, missing: bool) -> Iterator[bytes | None]:
    places = list(product(*(range(0, n, edge) for n in slide.shape[:2])))
    for y, x in places:
        tile = np.zeros((edge, edge, slide.shape[2]), slide.dtype)
        part = slide[y : y + edge, x : x + edge]
        tile[: part.shape[0], : part.shape[1]] = part
        yield None if missing and (y, x) == places[-1] else tile


def write_lif(
    path: Path,
    images: Mapping[str, NDArray[Any]],
    channels: Sequence[str] = ("Blue", "Green"),
    size_um: tuple[float, float, float] = (2.0, 0.5, 0.25),
    step_s: float = 30.0,
) -> Path:
    """Write TCZYX images, by name, as a LIF of version 2: XML, then a block of pixels for each."""
    elements = [
        _lif_image(name, i, image, channels, size_um, step_s)
        for i, (name, image) in enumerate(images.items())
    ]
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project" UniqueID="a">'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    )
    with open(path, "wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)))
        file.write(xml.encode("utf-16-le"))
        for i, image in enumerate(images.values()):
            name, pixels = f"MemBlock_{i}", _lif_order(image).tobytes()
            head = struct.pack("<BQBI", 0x2A, len(pixels), 0x2A, len(name))
            name_bytes = name.encode("utf-16-le")
            file.write(struct.pack("<II", 0x70, len(head) + len(name_bytes)) + head + name_bytes)
            file.write(pixels)
    return path


def _lif_order(image: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(image.transpose(0, 2, 1, 3, 4))  # T, Z, C, Y, X


def _lif_image(
    name: str,
    number: int,
    image: NDArray[Any],
    channels: Sequence[str],
    size_um: tuple[float, float, float],
    step_s: float,
) -> str:
    n_times, n_channels, n_planes, height, width = image.shape
    item = image.dtype.itemsize
    plane = item * height * width
    z, y, x = size_um
    described = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * item}" '
        f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName={quoteattr(channels[i])} '
        f'IsLUTInverted="0" BytesInc="{i * plane}" BitInc="0"/>'
        for i in range(n_channels)
    )
    dimensions = [
        (1, width, x * 1e-6, "m", item),
        (2, height, y * 1e-6, "m", item * width),
        (3, n_planes, z * 1e-6, "m", plane * n_channels),
        (4, n_times, step_s, "s", plane * n_channels * n_planes),
    ]
    sizes = "".join(
        f'<DimensionDescription DimID="{i}" NumberOfElements="{n}" Origin="0" '
        f'Length="{step * (n - 1)}" Unit="{unit}" BytesInc="{size}" BitInc="0"/>'
        for i, n, step, unit, size in dimensions
        if n > 1
    )
    return (
        f"<Element Name={quoteattr(name)} UniqueID='{number}'><Data><Image><ImageDescription>"
        f"<Channels>{described}</Channels><Dimensions>{sizes}</Dimensions></ImageDescription>"
        f"</Image></Data><Memory Size='{image.nbytes}' "
        f"MemoryBlockID='MemBlock_{number}'/></Element>"
    )


def write_nd2(
    path: Path,
    positions: NDArray[Any],
    channels: Sequence[str] = ("DAPI", "FITC"),
    size_um: tuple[float, float] | None = (2.0, 0.5),
    step_s: float = 30.0,
    missing: Sequence[int] = (),
    compressed: bool = False,
) -> Path:
    """Write a TPZCYX array as an ND2 of version 3; its frames are in the order T, P, Z.

    Parameters
    ----------
    size_um : z step and edge of a pixel; None for an image that was not calibrated
    missing : numbers of frames that are left out
    """
    n_times, n_positions, n_planes, n_channels, height, width = positions.shape
    bits = 8 * positions.dtype.itemsize
    z, edge = size_um or (2.0, -1.0)
    n_frames = n_times * n_positions * n_planes
    attributes = {
        "uiWidth": width, "uiWidthBytes": width * n_channels * bits // 8, "uiHeight": height,
        "uiComp": n_channels, "uiBpcInMemory": bits, "uiBpcSignificant": bits,
        "uiSequenceCount": n_frames, "eCompression": 0 if compressed else 2,
    }  # fmt: skip
    probe = {"m_ExcitationSpectrum": {"uiCount": 0}}
    planes = {f"a{i}": {"uiCompCount": 1, "uiSampleIndex": i, "sDescription": name,
                        "pFluorescentProbe": probe}
              for i, name in enumerate(channels)}  # fmt: skip
    picture = {
        "bCalibrated": size_um is not None, "dCalibration": edge,
        "sPicturePlanes": {"uiCount": n_channels, "sPlaneNew": planes},
    }  # fmt: skip
    points = {f"i{i:010}": {"dPosX": 0.0, "dPosY": 0.0, "dPosZ": 0.0, "dPosName": f"P{i}"}
              for i in range(n_positions)}  # fmt: skip
    loops = [
        (1, {"uiCount": n_times, "dStart": 0.0, "dPeriod": step_s * 1e3, "dDuration": 0.0}),
        (2, {"uiCount": n_positions, "Points": points}),
        (4, {"uiCount": n_planes, "dZStep": z, "dZLow": 0.0, "dZHigh": z * (n_planes - 1)}),
    ]
    experiment: dict[str, Any] = {}
    for kind, parameters in reversed([loop for loop in loops if loop[1]["uiCount"] > 1]):
        inner = {"ppNextLevelEx": {"i0000000000": experiment}} if experiment else {}
        experiment = {"eType": kind, "uLoopPars": parameters, **inner}
    frames = positions.transpose(0, 1, 2, 4, 5, 3).reshape(n_frames, -1)
    times = np.arange(n_frames, dtype=np.float64)
    chunks = {
        "ImageAttributesLV!": _variant("SLxImageAttributes", attributes),
        "ImageMetadataSeqLV|0!": _variant("SLxPictureMetadata", picture),
        "ImageMetadataLV!": _variant("SLxExperiment", experiment),
        "CustomData|AcqTimesCache!": times.tobytes(),
    }
    for number in sorted(set(range(n_frames)) - set(missing)):
        pixels = frames[number].tobytes()
        data = zlib.compress(pixels) if compressed else pixels
        chunks[f"ImageDataSeq|{number}!"] = struct.pack("<d", times[number]) + data
    _write_chunks(path, chunks)
    return path


def _write_chunks(path: Path, chunks: Mapping[str, bytes]) -> None:
    """Chunks, the map of their places, and the place of the map."""
    with open(path, "wb") as file:
        signature = b"ND2 FILE SIGNATURE CHUNK NAME01!"
        file.write(struct.pack("<IIQ", 0x0ABECEDA, 32, 64) + signature + b"Ver3.0".ljust(64, b"\0"))
        places = b""
        for name, data in chunks.items():
            start = file.tell()
            places += name.encode() + struct.pack("<QQ", start, len(data))
            file.write(struct.pack("<IIQ", 0x0ABECEDA, 4072, len(data)))
            file.write(name.encode().ljust(4072, b"\0") + data)
        place = file.tell()
        last = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", place)
        content = places + last
        file.write(struct.pack("<IIQ", 0x0ABECEDA, 32, len(content)))
        file.write(b"ND2 FILEMAP SIGNATURE NAME 0001!" + content)


def _variant(name: str, value: object) -> bytes:
    """A value with its type and name, as ND2 stores metadata."""
    coded = name.encode("utf-16-le") + b"\0\0"
    kinds: list[tuple[type, int, str]] = [(bool, 1, "<?"), (int, 3, "<I"), (float, 6, "<d")]
    for kind, number, form in kinds:
        if isinstance(value, kind):
            return bytes([number, len(coded) // 2]) + coded + struct.pack(form, value)
    if isinstance(value, str):
        return bytes([8, len(coded) // 2]) + coded + value.encode("utf-16-le") + b"\0\0"
    assert isinstance(value, Mapping)
    inner = b"".join(_variant(key, item) for key, item in value.items())
    head = bytes([11, len(coded) // 2]) + coded
    length = len(head) + 12 + len(inner)
    return head + struct.pack("<IQ", len(value), length) + inner + bytes(8 * len(value))
