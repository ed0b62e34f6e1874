"""Files made to do harm: they are refused before anything is allocated, opened or followed."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.ome_files import image_xml, noise, ome, tiff_data, write_planes, write_positions

from cellcam import InputError, open_stack

PLANE = noise(1, 8, 9)


def refused(path: Path, message: str, **options: object) -> None:
    """The file is refused with this message, quickly and without much memory."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(InputError, match=f"(?s){message}"):
            open_stack(path, **options)  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 2**26
        assert time.monotonic() - started < 10
    finally:
        tracemalloc.stop()


def classic_tiff(entries: list[tuple[int, int, int]], next_page: int = 0) -> bytes:
    """One page of tags (number, type, value) by hand; 16 bytes of pixels behind it."""
    form = {3: "<HHIHxx", 4: "<HHII"}
    tags = b"".join(struct.pack(form[kind], tag, kind, 1, value) for tag, kind, value in entries)
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    return head + tags + struct.pack("<I", next_page) + bytes(16)


def page(
    width: int, height: int, *, count: int = 16, compression: int = 1, tiled: bool = False
) -> list[tuple[int, int, int]]:
    end = 10 + 12 * 9 + 4
    size = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1)]
    if tiled:
        return [*size, (322, 4, 256), (323, 4, 256), (324, 4, end), (325, 4, count)]
    return [*size, (273, 4, end), (277, 3, 1), (278, 4, height), (279, 4, count)]


@pytest.mark.fault("5 a TIFF declares 2^30 x 2^30 pixels", "refused before anything is allocated")
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("compression", [1, 8, 50000])
def test_huge_declared_sizes(tmp_path: Path, tiled: bool, compression: int) -> None:
    edge = 2**30
    content = classic_tiff(page(edge, edge, compression=compression, tiled=tiled))
    (tmp_path / "a.tif").write_bytes(content)
    refused(tmp_path / "a.tif", "declares|missing|cut off")
    refused(tmp_path / "a.tif", "declares|missing|cut off", tolerate_missing=True)


def test_the_file_written_by_hand_is_read_where_it_is_honest(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(classic_tiff(page(4, 4)))
    assert open_stack(tmp_path / "a.tif").data.shape == (1, 1, 1, 4, 4)


def test_more_pixels_than_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(classic_tiff(page(40, 4)))
    refused(tmp_path / "a.tif", "declares 160 bytes of pixels and lists 16")


@pytest.mark.fault("6 decompression bomb", "refused before it is decompressed")
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_bombs(tmp_path: Path, compression: str) -> None:
    shape = (1024, 2048, 1024)
    zeros = np.broadcast_to(np.uint8(0), shape)
    tifffile.imwrite(
        tmp_path / "a.tif", iter(zeros), shape=shape, dtype=np.uint8, compression=compression,
        metadata={"axes": "TYX"}, photometric="minisblack",
    )  # fmt: skip
    assert (tmp_path / "a.tif").stat().st_size < 2**23
    refused(tmp_path / "a.tif", "declares 2.0 GiB of pixels in .* MiB")


def test_a_picture_with_too_many_pixels(tmp_path: Path) -> None:
    Image.new("L", (20000, 20000)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "more pixels than a picture has")


@pytest.mark.fault("7 pages that lead in a circle", "refused")
@pytest.mark.parametrize("length", [1, 2, 50, 150, 1000])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_in_a_circle(tmp_path: Path, length: int, bigtiff: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tif:
        for _ in range(length):
            tif.write(PLANE[0], metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tif:
        last, first = tif.pages[-1], tif.pages[0]
        step = 20 if bigtiff else 12
        place = last.offset + (8 if bigtiff else 2) + step * len(last.tags)
        start = first.offset
    with open(path, "r+b") as file:
        file.seek(place)
        assert int.from_bytes(file.read(8 if bigtiff else 4), "little") == 0
        file.seek(place)
        file.write(start.to_bytes(8 if bigtiff else 4, "little"))
    refused(path, "leads back")


LAUGHS = (
    "<!DOCTYPE OME [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 10))
    + "]><OME>&a9;</OME>"
)
MODULO = (
    '<StructuredAnnotations><XMLAnnotation ID="a" Namespace="x/modulo"><Value><Modulo>'
    '<ModuloAlongT Start="0" End="1e12" Step="1"/></Modulo></Value></XMLAnnotation>'
    "</StructuredAnnotations>"
)
HOSTILE = {
    "external entity": (
        '<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]><OME xmlns="x">&x;</OME>',
        "document type",
    ),
    "billion laughs": (LAUGHS, "document type"),
    "external schema": (
        "<!DOCTYPE OME SYSTEM 'http://127.0.0.1:9/x.dtd'><OME></OME>", "document type"
    ),
    "not closed": ('<OME xmlns="x"><Image><Pixels></OME>', "OME-XML is damaged"),
    "another root": ("<html></html><!--OME>", "begins with|damaged"),
    "planes without end": (
        ome(image_xml(0, (10**9, 1, 1, 8, 9), tiff_data(0, 10**9))), "declares 1000000000 planes"
    ),
    "a count without end": (
        ome(image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 10**15))), "declares 1000000000000000"
    ),
    "a first plane without end": (
        ome(image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1, (10**12, 0, 0)))), "declares"
    ),
    "negative": (ome(image_xml(0, (-1, 1, 1, 8, 9), tiff_data(0, 1))), "SizeT='-1'"),
    "no number": (
        ome(image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1))).replace('"8"', '"eight"'), "eight"
    ),
    "zero": (ome(image_xml(0, (1, 1, 1, 8, 9), "")).replace('"9"', '"0"'), "SizeX='0'"),
    "an axis without end": (
        ome(image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1)) + MODULO), "axis that makes no sense"
    ),
    "deep": (ome("<a>" * 100_000 + "</a>" * 100_000), "OME-XML"),
    "no planes": (ome(image_xml(0, (1, 1, 1, 8, 9), "")), "does not describe its pages"),
    "no images": (ome(""), "does not describe its pages"),
}  # fmt: skip


@pytest.mark.fault("8 hostile or damaged OME-XML", "refused; nothing is expanded or fetched")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_xml(tmp_path: Path, kind: str) -> None:
    xml, message = HOSTILE[kind]
    write_planes(tmp_path / "a.ome.tif", PLANE, xml)
    refused(tmp_path / "a.ome.tif", message)


@pytest.mark.fault("8 OME-XML that names a file outside the folder", "refused; it is not opened")
@pytest.mark.parametrize("name", ["../secret.tif", "/etc/hostname", "..\\secret.tif", ".."])
@pytest.mark.parametrize("where", ["plane", "companion"])
def test_references_out_of_the_folder(tmp_path: Path, name: str, where: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", PLANE)
    if where == "plane":
        planes = tiff_data(0, 1, file=("a.ome.tif", "a")) + tiff_data(0, 1, file=(name, "b"))
        xml = ome(image_xml(0, (1, 1, 1, 8, 9), planes))
    else:
        xml = ome(f'<BinaryOnly MetadataFile="{name}" UUID="urn:uuid:b"/>')
    write_planes(folder / "a.ome.tif", PLANE, xml)
    refused(folder / "a.ome.tif", "outside its folder")


@pytest.mark.fault("8 a file of an OME set is a link out of the folder", "refused")
@pytest.mark.parametrize("kind", ["plane", "companion"])
def test_links_out_of_the_folder(tmp_path: Path, kind: str) -> None:
    pixels = [noise(1, 1, 1, 8, 9, seed=i) for i in range(2)]
    how = "companion" if kind == "companion" else "all in all"
    paths = write_positions(tmp_path / "given", pixels, kind=how)
    linked = tmp_path / "given" / "set.companion.ome" if kind == "companion" else paths[1]
    os.symlink(linked.rename(tmp_path / linked.name), linked)
    refused(paths[0], "link to a file outside")


def test_a_link_to_an_image_is_followed_where_the_user_gives_it(tmp_path: Path) -> None:
    (path,) = write_positions(tmp_path / "there", [noise(1, 1, 1, 8, 9)])
    os.symlink(path, tmp_path / "here.ome.tif")
    np.testing.assert_array_equal(open_stack(tmp_path / "here.ome.tif").data, noise(1, 1, 1, 8, 9))
