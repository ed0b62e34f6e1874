"""Planes, tiles and files that are not there: refused with a way out, or no data if asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.ome_files import image_xml, noise, ome, tiff_data, without_tile, write_planes

from cellcam import InputError, open_stack
from cellcam.stacks.missing_pixels import MissingPixelsError, ranges


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Three time points of 4 x 6 tiles, two tiles of the second are missing."""
    data = noise(3, 64, 96)
    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            data,
            tile=(16, 16),
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "TYX"},
        )
    without_tile(path, 1, 0)
    without_tile(path, 1, 23)
    expected = data.astype(np.float32)
    expected[1, :16, :16] = expected[1, 48:, 80:] = np.nan
    return path, expected


@pytest.mark.fault(
    "tiles of a sparse TIFF are missing", "refused; offers the complete time points and no data"
)
def test_missing_tiles_are_refused_with_the_way_out(sparse: tuple[Path, np.ndarray]) -> None:
    path, expected = sparse
    with pytest.raises(MissingPixelsError, match=r"2 of 72 tiles.*0, 2.*--t.*--tolerate-missing"):
        open_stack(path)
    for t in (0, 2):
        np.testing.assert_array_equal(open_stack(path, only_t=t).field(t)[0], expected[t])
    with pytest.raises(MissingPixelsError):
        open_stack(path, only_t=1)


@pytest.mark.fault("--tolerate-missing for a sparse TIFF", "missing tiles are NaN, and said to be")
def test_missing_tiles_are_no_data_if_asked_for(sparse: tuple[Path, np.ndarray]) -> None:
    path, expected = sparse
    stack = open_stack(path, tolerate_missing=True)
    assert stack.data.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(stack.data)[:, 0, 0], expected)
    np.testing.assert_array_equal(stack.data[1, 0, 0, 10:50, 70:96], expected[1, 10:50, 70:96])
    assert stack.notes == ("2 of 72 tiles, strips or chunks are missing and count as no data.",)


def test_nothing_changes_where_nothing_is_missing(tmp_path: Path) -> None:
    data = noise(2, 32, 32)
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(16, 16), metadata={"axes": "TYX"})
    stack = open_stack(tmp_path / "a.tif", tolerate_missing=True)
    assert (stack.data.dtype, stack.notes) == (np.uint16, ())
    np.testing.assert_array_equal(np.asarray(stack.data)[:, 0, 0], data)


def stopped(path: Path, n_times: int, done: int, n_channels: int = 2) -> np.ndarray:
    """An OME-TIFF that promises more time points than were acquired."""
    data = noise(done, n_channels, 1, 20, 24)
    planes = "".join(
        tiff_data(t * n_channels + c, 1, (t, c, 0))
        for t in range(n_times)
        for c in range(n_channels)
    )
    names = [f"stain {c}" for c in range(n_channels)]
    xml = ome(image_xml(0, (n_times, n_channels, 1, 20, 24), planes, channels=names))
    write_planes(path, data.reshape(-1, 20, 24), xml)
    return data


@pytest.mark.fault(
    "an acquisition stopped: the OME-XML promises more time points than the file has",
    "refused; offers the complete time points and to leave the others out",
)
def test_a_stopped_acquisition_can_be_used_as_far_as_it_came(tmp_path: Path) -> None:
    data = stopped(tmp_path / "a.ome.tif", 40, 37)
    with pytest.raises(MissingPixelsError, match=r"6 of 80 planes.*time points 0 to 36.*--t"):
        open_stack(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(
        open_stack(tmp_path / "a.ome.tif", only_t=36).field(36), data[36, :, 0]
    )
    stack = open_stack(tmp_path / "a.ome.tif", tolerate_missing=True)
    np.testing.assert_array_equal(np.asarray(stack.data), data)
    assert "3 of 40 time points were left out." in stack.notes


def test_time_points_missing_in_between_stay_in_place(tmp_path: Path) -> None:
    data = noise(3, 1, 1, 8, 9)
    planes = tiff_data(0, 1, (0, 0, 0)) + tiff_data(1, 1, (2, 0, 0)) + tiff_data(9, 1, (1, 0, 0))
    write_planes(tmp_path / "a.ome.tif", data[[0, 2], 0, 0], ome(image_xml(0, data.shape, planes)))
    stack = open_stack(tmp_path / "a.ome.tif", tolerate_missing=True)
    assert np.isnan(stack.field(1)).all()
    np.testing.assert_array_equal(stack.field(2), data[2, :, 0])
    assert "Time points without any: 1." in stack.notes[0]


@pytest.mark.fault("1 a file is cut off", "refused; offers the time points that are complete")
def test_a_file_that_is_cut_off_can_be_used_as_far_as_it_goes(tmp_path: Path) -> None:
    data, path = noise(6, 40, 50), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(data, photometric="minisblack", truncate=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        begin, is_one_run = tif.pages[0].dataoffsets[0], tif.series[0].dataoffset is not None
    assert is_one_run
    # One page describes all planes; nothing but pixels is behind it.
    path.write_bytes(path.read_bytes()[: begin + data.nbytes - 100])
    with pytest.raises(MissingPixelsError, match="cut off.*time points 0 to 4"):
        open_stack(path)
    stack = open_stack(path, tolerate_missing=True)
    np.testing.assert_array_equal(np.asarray(stack.data)[:, 0, 0], data[:5])


@pytest.mark.fault("1 an ImageJ stack is cut off before its list of pages", "refused, as cut off")
def test_an_imagej_stack_whose_pages_are_lost_is_refused(tmp_path: Path) -> None:
    data, path = noise(6, 40, 50), tmp_path / "a.tif"
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TYX"})
    path.write_bytes(path.read_bytes()[: data[:3].nbytes])
    for tolerate in (False, True):
        with pytest.raises(InputError, match="cut off or damaged.*Copy"):
            open_stack(path, tolerate_missing=tolerate)


def test_a_file_without_any_pixels_is_refused_even_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(16, 16), tile=(16, 16))
    without_tile(path, 0, 0)
    with pytest.raises(InputError, match="all its pixels are missing"):
        open_stack(path, tolerate_missing=True)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], ""), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0 to 2, 5, 7 to 8")],
)
def test_numbers_in_words(numbers: list[int], words: str) -> None:
    assert ranges(numbers) == words


def test_whole_numbers_of_32_bits_stay_exact(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 2**32, (32, 16)).astype(np.uint32)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, tile=(16, 16))
    without_tile(path, 0, 1)
    np.testing.assert_array_equal(
        open_stack(path, tolerate_missing=True).field()[0, :16], data[:16]
    )
