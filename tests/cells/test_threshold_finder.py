from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellcam import InputError, find_cells, open_stack
from cellcam.stacks.stack import PixelSize, Stack


def discs(centres: list[tuple[int, int]], radius: float, shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape, np.float32)
    for cy, cx in centres:
        image[np.hypot(y - cy, x - cx) <= radius] = 1
    return image


def noisy(image: np.ndarray, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.poisson(100 + 400 * image).astype(np.float32)


def label_cells(
    image: np.ndarray, diameter: float, pixel_size_um: PixelSize | None = None
) -> np.ndarray:
    """Label image of an image in memory, (Y, X) or (Z, Y, X)."""
    stack = Stack.from_array(image, "ZYX"[-image.ndim :], ["DNA"], pixel_size_um)
    return find_cells(stack, diameter=diameter, z="volume" if image.ndim == 3 else None)


def test_separate_cells_are_found_at_their_place() -> None:
    centres = [(20, 20), (20, 70), (70, 45)]
    labels = label_cells(noisy(discs(centres, 10, (100, 100))), diameter=20)
    assert labels.max() == 3
    assert len({labels[c] for c in centres} - {0}) == 3
    truth = discs(centres, 10, (100, 100)) > 0
    overlap = ((labels > 0) & truth).sum() / ((labels > 0) | truth).sum()
    assert overlap > 0.8  # the outline lies a pixel outside: dim cells matter more


def test_touching_cells_are_separated() -> None:
    labels = label_cells(noisy(discs([(40, 30), (40, 48)], 10, (80, 80))), diameter=20)
    assert labels.max() == 2
    assert labels[40, 30] != labels[40, 48]


def test_one_large_cell_stays_one() -> None:
    labels = label_cells(noisy(discs([(60, 60)], 30, (120, 120))), diameter=60)
    assert labels.max() == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [5, 100, 5000])
def test_an_empty_field_holds_no_cells(seed: int, level: float) -> None:
    image = np.random.default_rng(seed).poisson(level, (128, 128)).astype(np.float32)
    assert label_cells(image, diameter=20).max() == 0


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_constant_field_holds_no_cells(value: float) -> None:
    assert label_cells(np.full((32, 32), value, np.float32), diameter=10).max() == 0


def test_pixels_that_are_not_numbers_disturb_nothing() -> None:
    image = noisy(discs([(30, 30)], 10, (64, 64)))
    image[50:55, 50:55] = np.nan
    assert label_cells(image, diameter=20).max() == 1


def test_volumes() -> None:
    z, y, x = np.mgrid[:12, :60, :60]
    ball = ((z - 6) * 2) ** 2 + (y - 30) ** 2 + (x - 20) ** 2 < 64
    other = ((z - 6) * 2) ** 2 + (y - 30) ** 2 + (x - 42) ** 2 < 64
    volume = noisy((ball | other).astype(np.float32))
    labels = label_cells(volume, diameter=16, pixel_size_um=PixelSize(2.0, 1.0, 1.0))
    assert labels.max() == 2
    assert labels[6, 30, 20] != labels[6, 30, 42]


class TestScale:
    image = noisy(discs([(20, 20), (60, 60)], 10, (80, 80)))
    known = Stack.from_array(image, "YX", ["DNA"], PixelSize(None, 0.5, 0.5))
    unknown = Stack.from_array(image, "YX", ["DNA"])

    def test_um_and_pixels_agree(self) -> None:
        in_um = find_cells(self.known, diameter_um=10)
        np.testing.assert_array_equal(in_um, find_cells(self.known, diameter=20))

    def test_without_a_scale_it_is_measured(self) -> None:
        assert find_cells(self.unknown).max() == 2

    def test_um_without_a_pixel_size_is_refused(self) -> None:
        with pytest.raises(InputError, match="pixel size of stack is unknown"):
            find_cells(self.unknown, diameter_um=10)

    def test_an_absurd_scale_is_refused(self) -> None:
        coarse = Stack.from_array(self.image, "YX", ["DNA"], PixelSize(None, 13.0, 13.0))
        with pytest.raises(InputError, match="too small"):
            find_cells(coarse)

    @pytest.mark.fault(
        "a diameter that no cell of the image can have", "refused, with both figures"
    )
    def test_a_diameter_beyond_the_image_is_refused(self) -> None:
        stack = Stack.from_array(np.zeros((300, 400)), "YX", ["DNA"], PixelSize(None, 1e-3, 1e-3))
        with pytest.raises(InputError, match="diameter of 1e.04 pixels is more than .* has, 400"):
            find_cells(stack, "DNA")


def test_the_channel_must_be_named_where_there_are_several() -> None:
    stack = Stack.from_array(np.zeros((2, 8, 8)), "CYX", ["DNA", "actin"])
    with pytest.raises(InputError, match="DNA, actin"):
        find_cells(stack)


def test_real_nuclei_are_counted_as_by_their_published_labels(shared_data: Path) -> None:
    folder = shared_data / "tiff_zoo" / "neubias"
    stack = open_stack(
        folder / "xy_8bit__mitocheck_incenp_t1.tif", pixel_size_um=(None, None, None)
    )
    published = open_stack(folder / "xy_8bit_labels__mitocheck_incenp_t1.tif").field()[0]
    n_published = len(np.unique(published)) - 1
    assert find_cells(stack, diameter=25).max() == pytest.approx(n_published, rel=0.15)
