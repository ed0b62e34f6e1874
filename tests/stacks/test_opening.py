from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.ome_files import image_xml, ome, tiff_data

from cellcam import InputError, open_stack
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff


@pytest.fixture
def ome_file(tmp_path: Path) -> Path:
    path = tmp_path / "cells.ome.tif"
    data = np.random.default_rng(0).integers(0, 4000, (2, 3, 4, 40, 50)).astype(np.uint16)
    write_ome_tiff(path, data, ("DNA", "tubulin", "µ-marker"), PixelSize(1.5, 0.3, 0.3), 60.0)
    return path


def test_what_is_written_comes_back(ome_file: Path) -> None:
    stack = open_stack(ome_file)
    assert stack.data.shape == (2, 3, 4, 40, 50)
    assert stack.channels == ("DNA", "tubulin", "µ-marker")
    assert stack.pixel_size_um == (1.5, 0.3, 0.3)
    assert stack.time_step_s == 60.0
    assert stack.name == "cells"
    np.testing.assert_array_equal(np.asarray(stack.data), tifffile.imread(ome_file))


def test_arguments_overrule_the_file(ome_file: Path) -> None:
    stack = open_stack(ome_file, channels=["a", "b", "c"], pixel_size_um=0.5, time_step_s=9.0)
    assert stack.channels == ("a", "b", "c")
    assert stack.pixel_size_um == (1.5, 0.5, 0.5)
    assert stack.time_step_s == 9.0


def test_a_stack_can_be_pickled(ome_file: Path) -> None:
    stack = pickle.loads(pickle.dumps(open_stack(ome_file)))
    np.testing.assert_array_equal(stack.field(1, 2), tifffile.imread(ome_file)[1, :, 2])


@pytest.mark.parametrize("codec", ["lzw", "zstd", "deflate", "jpeg2000", "lzma", "packbits"])
def test_compressed_files_are_read(tmp_path: Path, codec: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, compression=codec)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.tif").field()[0], image)


def test_pyramids_open_at_full_resolution(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    image = np.random.default_rng(0).integers(0, 255, (128, 128)).astype(np.uint8)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(image, subifds=1, tile=(64, 64), metadata={"axes": "YX"})
        tif.write(image[::2, ::2], subfiletype=1, tile=(64, 64))
    np.testing.assert_array_equal(open_stack(path).field()[0], image)


def test_unstated_axes_are_asked_for(tmp_path: Path) -> None:
    image = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as tif:
        for page in image:
            tif.write(page, contiguous=False, metadata=None)
    with pytest.raises(InputError, match=r"3 x 8 x 9.*--axes"):
        open_stack(tmp_path / "pages.tif")
    stack = open_stack(tmp_path / "pages.tif", axes="ZYX")
    np.testing.assert_array_equal(stack.data[0, 0], image)
    with pytest.raises(InputError, match="name 2 axes"):
        open_stack(tmp_path / "pages.tif", axes="YX")
    with pytest.raises(InputError, match="each letter"):
        open_stack(tmp_path / "pages.tif", axes="QYX")


def test_several_images_in_a_file_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(np.zeros((8, 9), np.uint8), metadata={"axes": "YX"})
        tif.write(np.ones((5, 6), np.uint8), metadata={"axes": "YX"})
    with pytest.raises(InputError, match="2 images.*--series"):
        open_stack(path)
    assert open_stack(path, series=1).data.shape == (1, 1, 1, 5, 6)


class TestDamagedFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no file"):
            open_stack(tmp_path / "nowhere.tif")

    @pytest.mark.fault("3 a file of zero bytes, or of a header only", "refused")
    @pytest.mark.parametrize("content", [b"", b"hello, I am no image", b"II*\x00"])
    def test_no_tiff(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(InputError, match="no TIFF"):
            open_stack(tmp_path / "a.tif")

    @pytest.mark.fault("1 a file is cut off anywhere", "refused")
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
    def test_cut_off(self, ome_file: Path, share: float) -> None:
        content = ome_file.read_bytes()
        ome_file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError):
            open_stack(ome_file)

    def test_cut_off_without_metadata(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(
            path, np.ones((3, 64, 64), np.uint16), imagej=True, metadata={"axes": "ZYX"}
        )
        path.write_bytes(path.read_bytes()[:20_000])
        with pytest.raises(InputError, match="cut off|damaged"):
            open_stack(path)

    def test_metadata_that_promise_more_channels_than_there_are(self, ome_file: Path) -> None:
        content = ome_file.read_bytes().replace(b'SizeC="3"', b'SizeC="9"')
        ome_file.write_bytes(content)
        with pytest.raises(InputError):
            open_stack(ome_file)

    @pytest.mark.fault("2 damaged tiles", "an error that names the file and the place")
    @pytest.mark.parametrize("codec", ["zlib", "zstd", "lzw", "packbits", "lzma", "png", "jpeg",
                                       "jpeg2000", "jpegxl"])  # fmt: skip
    def test_tiles_of_which_half_was_not_written(self, tmp_path: Path, codec: str) -> None:
        path = tmp_path / "a.tif"
        pixels = np.random.default_rng(0).integers(0, 99, (64, 128)).astype(np.uint8)
        tifffile.imwrite(path, pixels, tile=(64, 64), compression=codec)
        with tifffile.TiffFile(path) as tif:
            offset, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
        content = bytearray(path.read_bytes())
        content[offset + count // 2 : offset + count] = bytes(count - count // 2)
        path.write_bytes(content)
        stack = open_stack(path)
        with pytest.raises(InputError, match="a.tif is damaged"):
            stack.field()

    @pytest.mark.fault("planes of one image differ in their storage", "refused")
    @pytest.mark.parametrize("differs", ["dtype", "compression", "shape"])
    def test_planes_that_differ(self, tmp_path: Path, differs: str) -> None:
        planes = [np.ones((16, 18), np.uint16)] * 3
        how = [{}, {}, {}]
        if differs == "dtype":
            planes[2] = planes[2].astype(np.uint8)
        elif differs == "compression":
            how[2] = {"compression": "zlib"}
        else:
            planes[2] = np.ones((18, 16), np.uint16)
        xml = ome(image_xml(0, (3, 1, 1, 16, 18), tiff_data(0, 3))).encode()
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
            for i, plane in enumerate(planes):
                tif.write(plane, metadata=None, contiguous=False,
                          description=None if i else xml, **how[i])  # fmt: skip
        with pytest.raises(InputError, match="planes differ|damaged"):
            open_stack(tmp_path / "a.ome.tif").loaded()

    def test_a_reference_out_of_the_folder(self, ome_file: Path) -> None:
        with tifffile.TiffFile(ome_file) as tif:
            xml = tif.ome_metadata
        evil = xml.replace(
            "<TiffData", '<TiffData><UUID FileName="../../secret.tif"/></TiffData><TiffData', 1
        )
        tifffile.tiffcomment(ome_file, evil.encode())
        with pytest.raises(InputError, match="outside its folder"):
            open_stack(ome_file)


def test_two_samples_of_a_pixel_are_two_stains_without_names(tmp_path: Path) -> None:
    pixels = np.arange(2 * 8 * 9, dtype=np.uint16).reshape(2, 8, 9)
    path = tmp_path / "two.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="separate")
    stack = open_stack(path)
    assert not stack.channels_named
    assert not set(stack.channels) & {"red", "green"}
    np.testing.assert_array_equal(stack.field(), pixels)
