from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.html import Tags

from cellcam.reporting.sample_page import ClassSamples, ShownCrop, crop_picture, write_sample_page


def drawn(crop: ShownCrop) -> np.ndarray:
    """The picture of a crop, (Y, X, 3)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(crop_picture(crop)))))


@pytest.mark.fault(
    "Crops of a wrong size", "Seen at once: sample crops of each class in the field around them"
)
def test_the_crop_is_framed_in_the_darker_field_around_it() -> None:
    pixels = np.zeros((1, 40, 60), np.uint16)
    pixels[0, :, 20:40] = 1000
    pixels[0, 10:30] = 1000
    picture = drawn(ShownCrop(pixels, (20, 30), "a.tif"))
    assert picture.shape == (40, 60, 3)
    assert picture[20, 30].tolist() == [255, 255, 255]
    assert picture[2, 30].tolist() == [102, 102, 102]
    frame = (picture == picture[9, 30]).all(-1)
    assert frame[9, 14:46].all()
    assert frame[30, 14:46].all()
    assert frame[9:31, 14].all()
    assert frame[9:31, 45].all()
    assert frame.sum() == 2 * 32 + 2 * 20


def test_a_crop_without_a_field_around_it_has_no_frame() -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (2, 5, 20, 30))  # a volume in two stains
    assert drawn(ShownCrop(pixels, (20, 30), "a.tif")).shape == (20, 30, 3)


def test_colour_pictures_keep_their_colours_and_large_ones_are_made_smaller() -> None:
    pixels = np.zeros((3, 600, 300), np.uint8)
    pixels[0, :, :150], pixels[2, :, 150:] = 200, 200
    picture = drawn(ShownCrop(pixels, (600, 300), "a.jpg", is_colour=True))
    assert picture.shape == (240, 120, 3)
    assert picture[120, 20].tolist() == [255, 0, 0]
    assert picture[120, 100].tolist() == [0, 0, 255]


def test_names_are_escaped_and_nothing_outside_is_needed(tmp_path: Path) -> None:
    crop = ShownCrop(np.eye(8)[None], (8, 8), '"><script>x.tif')
    write_sample_page(tmp_path / "s.html", [ClassSamples("<b>G1</b>", 7, [crop])], "8 x 8 pixels")
    page = (tmp_path / "s.html").read_text("utf-8")
    tags = Tags(page)
    assert "script" not in tags.names
    assert "b" not in tags.names
    assert all(link.startswith("data:") for link in tags.links)
    assert "(7 cells)" in page
    assert "crops of 8 x 8 pixels" in page
