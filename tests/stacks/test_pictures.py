from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellcam import InputError, open_stack

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_colours_become_channels_pixel_by_pixel(tmp_path: Path, ending: str) -> None:
    pixels = RANDOM.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"cell.{ending}")
    stack = open_stack(tmp_path / f"cell.{ending}")
    assert (stack.name, stack.channels) == ("cell", ("red", "green", "blue"))
    np.testing.assert_array_equal(stack.field(), np.moveaxis(pixels, 2, 0))


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 2**16, (7, 9)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "cell.png")
    stack = open_stack(tmp_path / "cell.png")
    assert stack.data.dtype == np.uint16
    np.testing.assert_array_equal(stack.field()[0], pixels)


def test_indices_into_a_colour_table_become_colours(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = (10, 200, 30)
    Image.fromarray(pixels).quantize(2).save(tmp_path / "cell.png")
    np.testing.assert_array_equal(open_stack(tmp_path / "cell.png").field()[1], pixels[..., 1])


def test_real_blood_smears_have_the_size_that_their_table_says(shared_data: Path) -> None:
    stack = open_stack(shared_data / "fov_boxes" / "bccd" / "BloodImage_00000.jpg")
    assert stack.data.shape == (1, 3, 1, 480, 640)
    assert stack.field().std() > 10


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut off"])
def test_damaged_pictures_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cell.png").write_bytes(content)
    with pytest.raises(InputError, match="no picture"):
        open_stack(tmp_path / "cell.png")


def test_a_picture_that_ends_early_is_refused_when_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 256, (90, 90, 3)).astype(np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        open_stack(tmp_path / "a.jpg").field()
