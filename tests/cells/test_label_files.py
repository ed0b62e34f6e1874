"""Label files as other programs write them: which axes do they have, seen from the image?"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellcam import InputError, Stack
from cellcam.cells.finder import FieldView
from cellcam.cells.label_files import open_label_image


def image(n_times: int = 1, n_planes: int = 1) -> Stack:
    return Stack.from_array(np.zeros((n_times, n_planes, 6, 8)), "TZYX", ["DNA"], name="image")


def numbered(*shape: int) -> np.ndarray:
    """A label image whose cell at (0, 1) has the number of the plane, from 1."""
    labels = np.zeros((*shape, 6, 8), np.uint16)
    labels[..., 0, 1] = 1 + np.arange(np.prod(shape)).reshape(shape)
    return labels


def write(path: Path, labels: np.ndarray) -> None:
    """As programs write label stacks: plain. tifffile stores 3 or 4 planes as colours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tifffile.imwrite(path, labels)


@pytest.mark.fault(
    "a label stack of Cellpose or napari, which states no axes", "it has the image's axes"
)
@pytest.mark.parametrize(
    ("shape", "n_times", "n_planes", "axes", "expected"),
    [
        # expected: number of the cell at the last time point and plane of the image
        ((5,), 5, 1, None, 5),
        ((5,), 1, 5, None, 5),
        ((5,), 5, 3, None, 5),
        ((3,), 5, 3, None, 3),
        ((4,), 4, 1, None, 4),
        ((2, 3), 2, 3, None, 6),
        ((3, 2), 2, 3, None, 6),
        ((1, 5), 5, 1, None, 5),
        ((1, 5), 1, 5, None, 5),
        ((2, 2), 2, 2, "TZCYX", 4),
        ((2, 2), 2, 2, "zctyx", 4),
    ],
)
def test_a_file_without_axes_has_those_of_the_image(
    tmp_path: Path,
    shape: tuple[int, ...],
    n_times: int,
    n_planes: int,
    axes: str | None,
    expected: int,
) -> None:
    write(tmp_path / "labels.tif", numbered(*shape))
    seen = image(n_times, n_planes)
    finder = open_label_image(tmp_path / "labels.tif", seen, axes)
    last = FieldView.whole(seen, n_times - 1, n_planes - 1)
    assert finder.label(last, None)[0, 1] == expected


def test_the_order_of_equal_axes_is_that_of_the_image(tmp_path: Path) -> None:
    write(tmp_path / "labels.tif", numbered(2, 2))
    for axes, expected in (("TZYX", 2), ("ZTYX", 3)):
        finder = open_label_image(tmp_path / "labels.tif", image(2, 2), axes)
        assert finder.label(FieldView.whole(image(2, 2), 0, 1), None)[0, 1] == expected


@pytest.mark.parametrize(
    ("shape", "n_times", "n_planes", "message"),
    [
        ((5,), 1, 1, "1 time points and 1 planes, and 5 is neither"),
        ((5,), 5, 5, "could be either"),
        ((6,), 5, 3, "is neither.*OME-TIFF.*Fiji"),
        ((3, 3), 3, 3, "could be either"),
    ],
)
def test_axes_that_cannot_be_known_are_refused(
    tmp_path: Path, shape: tuple[int, ...], n_times: int, n_planes: int, message: str
) -> None:
    write(tmp_path / "labels.tif", numbered(*shape))
    with pytest.raises(InputError, match=message):
        open_label_image(tmp_path / "labels.tif", image(n_times, n_planes))


@pytest.mark.fault("labels of another size than the image", "refused, with both sizes")
@pytest.mark.parametrize("shape", [(12, 16), (5, 12, 16)])
def test_another_size_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"12 x 16.* 6 x 8 pixels|12 x 16.* 6 x 8"):
        open_label_image(tmp_path / "labels.tif", image(5))


def test_stated_axes_are_believed(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, numbered(3, 2), metadata={"axes": "ZTYX"}, ome=True)
    finder = open_label_image(path, image(2, 3))
    assert finder.label(FieldView.whole(image(2, 3), 1, 2), None)[0, 1] == 6
    assert finder.notes == ()


def test_pictures_are_labels_too(tmp_path: Path) -> None:
    Image.fromarray(numbered(1)[0].astype(np.uint8) * 9).save(tmp_path / "labels.png")
    finder = open_label_image(tmp_path / "labels.png", image())
    assert finder.label(FieldView.whole(image()), None)[0, 1] == 9


@pytest.mark.fault("a JPEG, or a colour picture, as label image", "refused, with why")
def test_jpegs_and_colours_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "labels.png")
    Image.new("L", (8, 6)).save(tmp_path / "labels.jpg")
    with pytest.raises(InputError, match="3 channels or colours"):
        open_label_image(tmp_path / "labels.png", image())
    with pytest.raises(InputError, match="JPEG, which changes the numbers"):
        open_label_image(tmp_path / "labels.jpg", image())


def test_the_series_of_the_image_is_that_of_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    with tifffile.TiffWriter(path) as file:
        for n in (1, 5):
            file.write(numbered(1)[0] * n, metadata={"axes": "YX"})
        file.write(np.zeros((3, 3), np.uint8), metadata={"axes": "YX"})
    finder = open_label_image(path, image(), series=1)
    assert finder.label(FieldView.whole(image()), None)[0, 1] == 5
    with pytest.raises(InputError, match="holds 3 images"):
        open_label_image(path, image())
