"""Files of other kinds under the name of a TIFF or a picture: what they are, and what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellcam import InputError, open_stack
from cellcam.stacks.file_kinds import kind_of

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, kind)
    return content.getvalue()


def array() -> bytes:
    content = io.BytesIO()
    np.save(content, {"masks": PIXELS}, allow_pickle=True)  # type: ignore[arg-type]
    return content.getvalue()


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.txt", "a")
    return content.getvalue()


OTHERS = {
    "czi": (b"ZISRAWFILE\0\0\0\0\0\0" + bytes(500), "Zeiss CZI.*Rename it to cells.*czi"),
    "nd2": (
        b"\xda\xce\xbe\x0a\x10\0\0\0ND2 FILE SIGNATURE CHUNK NAME01!",
        "Nikon ND2.*Rename it to cells.*nd2",
    ),
    "old nd2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), "ND2.*OME-TIFF"),
    "lif": (b"\x70\0\0\0\x20\1\0\0\x2a\x10\0\0\0<\0L\0M\0", "Leica LIF.*Rename it to cells.*lif"),
    "oib": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "Olympus OIB.*OME-TIFF"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5.*OME-TIFF"),
    "dicom": (bytes(128) + b"DICM" + bytes(300), "DICOM"),
    "dm3": (b"\0\0\0\x03\0\1\2\3\0\0\0\1" + bytes(300), "Gatan"),
    "npy": (array(), "NumPy array"),
    "zip": (archive(), "zip archive.*Unpack"),
    "gzip": (gzip.compress(b"a" * 100), "compressed.*Unpack"),
    "gif": (picture("GIF"), "GIF"),
    "pdf": (b"%PDF-1.7\n" + bytes(100), "PDF"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><body>Log in</body></html>", "web page.*Download"),
    "text": (b"x,y,cls\n1,2,G1\n", "text file"),
    "utf-8": ("x;y;Größe\n1,5;2;µ\n".encode(), "text file"),
    "zeros": (bytes(5000), "zeros.*Copy"),
    "empty": (b"", "empty.*Copy"),
}


@pytest.mark.fault("4 a file of another kind named .tif", "says what it is and what to do")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["cells.tif", "cells.ome.tiff", "cells.jpg", "cells.PNG"])
def test_what_a_file_is_instead_is_said(tmp_path: Path, kind: str, name: str) -> None:
    content, message = OTHERS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"(?s)cells.* no (TIFF|picture).*{message}"):
        open_stack(tmp_path / name)


@pytest.mark.fault("4 a picture named .tif, a TIFF named .jpg", "says how to rename it")
@pytest.mark.parametrize(
    ("content", "name", "renamed"),
    [
        (picture("JPEG"), "a.tif", "a JPEG picture. Rename it to a.jpg"),
        (picture("PNG"), "a.tiff", "a PNG picture. Rename it to a.png"),
        (picture("BMP"), "a.tif", "a BMP picture. Rename it to a.bmp"),
        (picture("TIFF"), "a.jpg", "a TIFF. Rename it to a.tif"),
        (picture("TIFF"), "a.png", "a TIFF. Rename it to a.tif"),
    ],
)
def test_pictures_under_a_wrong_name(
    tmp_path: Path, content: bytes, name: str, renamed: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=renamed):
        open_stack(tmp_path / name)


def test_a_jpeg_named_png_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("JPEG"))
    assert open_stack(tmp_path / "a.png").data.shape[-2:] == PIXELS.shape


@pytest.mark.fault("4 a segmentation of Cellpose, _seg.npy", "says where to save the masks as TIFF")
def test_a_segmentation_of_cellpose_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "cells_seg.npy").write_bytes(array())
    with pytest.raises(InputError, match="segmentation of Cellpose.*Save masks"):
        open_stack(tmp_path / "cells_seg.npy")


@pytest.mark.parametrize("ending", ["oib", "hdf5"])
def test_files_of_microscopes_under_their_own_name(tmp_path: Path, ending: str) -> None:
    content, message = OTHERS[ending]
    (tmp_path / f"cells.{ending}").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_stack(tmp_path / f"cells.{ending}")


def test_a_folder_named_tif_and_a_file_named_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    (tmp_path / "a.zarr").write_bytes(archive())
    with pytest.raises(InputError, match="is a folder"):
        open_stack(tmp_path / "a.tif")
    with pytest.raises(InputError, match="OME-Zarr is a folder. Unpack"):
        open_stack(tmp_path / "a.zarr")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_form_of_tiff_is_known(tmp_path: Path, byteorder: str, bigtiff: bool) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, byteorder=byteorder, bigtiff=bigtiff)
    kind = kind_of(tmp_path / "a.tif")
    assert kind is not None
    assert kind.name == "a TIFF"
    np.testing.assert_array_equal(open_stack(tmp_path / "a.tif").field()[0], PIXELS)


def test_every_file_of_the_collection_is_known(shared_data: Path) -> None:
    for path in (shared_data / "tiff_zoo").rglob("*.tif*"):
        kind = kind_of(path)
        assert kind is not None, path
        assert kind.name == "a TIFF", path
