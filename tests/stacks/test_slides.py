"""Slides: the scan is opened and not its label, with its pixel size, by regions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from support.microscope_files import write_svs

from cellcam import InputError, open_stack
from cellcam.stacks import tiff_pixels
from cellcam.stacks.missing_pixels import MissingPixelsError
from cellcam.stacks.stack import PixelSize

SLIDE = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)


def test_pixels_colours_and_scale_come_back(tmp_path: Path) -> None:
    stack = open_stack(write_svs(tmp_path / "a.svs", SLIDE, mpp=0.2527))
    np.testing.assert_array_equal(np.asarray(stack.data)[0, :, 0], np.moveaxis(SLIDE, -1, 0))
    assert stack.channels == ("red", "green", "blue")
    assert stack.is_colour
    assert stack.pixel_size_um == PixelSize(None, 0.2527, 0.2527)
    assert stack.stored == (64, 64)
    assert stack.name == "a"


def test_a_slide_behaves_like_the_same_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", SLIDE, photometric="rgb", tile=(64, 64), metadata=None)
    slide, tiff = open_stack(write_svs(tmp_path / "a.svs", SLIDE)), open_stack(tmp_path / "a.tif")
    for fact in ("channels", "channels_named", "is_colour", "stored", "time_step_s", "notes"):
        assert getattr(slide, fact) == getattr(tiff, fact)
    assert slide.data.chunks == tiff.data.chunks


def test_the_label_of_a_slide_has_no_scale(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", SLIDE)
    label = open_stack(path, series=2)
    assert label.data.shape == (1, 3, 1, 30, 40)
    assert label.pixel_size_um == PixelSize()
    assert open_stack(path, series=0).pixel_size_um == PixelSize(None, 0.25, 0.25)


def test_a_resolution_for_printing_is_no_pixel_size(tmp_path: Path) -> None:
    stack = open_stack(write_svs(tmp_path / "a.svs", SLIDE, mpp=None))
    assert stack.pixel_size_um == PixelSize()


def test_a_region_is_read_and_not_the_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = np.tile(SLIDE, (10, 10, 1))
    stack = open_stack(write_svs(tmp_path / "a.svs", slide))
    read: list[int] = []
    original = tiff_pixels.TiffPixels.__getitem__

    def counted(self: Any, region: Any) -> Any:
        pixels = original(self, region)
        read.append(pixels.nbytes)
        return pixels

    monkeypatch.setattr(tiff_pixels.TiffPixels, "__getitem__", counted)
    part = np.asarray(stack.data[0, :, 0, 2000:2100, 3000:3100])
    np.testing.assert_array_equal(part, np.moveaxis(slide[2000:2100, 3000:3100], -1, 0))
    assert sum(read) <= 2**24 < slide.nbytes


def test_a_tile_that_is_not_there_is_missing(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", SLIDE, missing=True)
    with pytest.raises(MissingPixelsError, match="1 of 35 tiles"):
        open_stack(path)
    read = np.asarray(open_stack(path, tolerate_missing=True).data)
    assert np.isnan(read).sum() == 3 * (300 - 256) * (400 - 384)


@pytest.mark.fault("a slide is cut off or no slide", "refused, and the file is named")
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_slide_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    path = write_svs(tmp_path / "a.svs", SLIDE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match=r"a\.svs"):
        open_stack(path).loaded()


def test_a_circle_of_pages_ends(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", SLIDE)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[-1].offset
    n_tags = int.from_bytes(content[last : last + 2], "little")
    content[last + 2 + 12 * n_tags : last + 6 + 12 * n_tags] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="leads back"):
        open_stack(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    with pytest.raises(InputError, match=r"tiffslide.*pip install 'cellcam\[microscopes\]'"):
        open_stack(write_svs(tmp_path / "a.svs", SLIDE))


def test_another_tiff_under_the_name_of_a_slide_states_no_scale(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.svs", SLIDE, photometric="rgb", metadata=None,
        resolution=(40000, 40000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    assert open_stack(tmp_path / "a.svs").pixel_size_um == PixelSize()
