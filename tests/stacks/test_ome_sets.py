"""Files of a set: each opens as its own position, and an image in several files as one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.ome_files import (
    image_xml,
    noise,
    ome,
    tiff_data,
    write_micro_manager,
    write_planes,
    write_positions,
)

from cellcam import InputError, open_stack

KINDS = ["all in all", "same xml", "no uuid", "companion", "master", "nameless"]


@pytest.mark.fault(
    "each file of a multi-position OME set carries or refers to the description of all positions",
    "each file opens as its own position",
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_set_is_its_own_position(tmp_path: Path, kind: str) -> None:
    pixels = [noise(2, 1, 3, 20, 30, seed=i) for i in range(3)]
    for path, expected in zip(write_positions(tmp_path, pixels, kind=kind), pixels, strict=True):
        stack = open_stack(path)
        np.testing.assert_array_equal(np.asarray(stack.data), expected)
        assert (stack.channels, stack.pixel_size_um.x) == (("DNA",), 0.5)


@pytest.mark.fault("positions of Micro-Manager, a file each", "each opens as its own position")
def test_positions_of_micro_manager(tmp_path: Path) -> None:
    planes = [noise(12, 18, seed=i) for i in range(3)]
    paths = write_micro_manager(tmp_path, planes)
    with tifffile.TiffFile(paths[1]) as tif:
        assert tif.is_mmstack
        assert tif.series[0].shape[0] == 3
    for path, plane in zip(paths, planes, strict=True):
        np.testing.assert_array_equal(open_stack(path).field()[0], plane)


@pytest.mark.fault("--series 0 for a multi-position OME set", "each file's own first image")
def test_the_first_image_of_a_file_is_its_own(tmp_path: Path) -> None:
    pixels = [noise(1, 1, 1, 8, 9, seed=i) for i in range(2)]
    paths = write_positions(tmp_path, pixels)
    np.testing.assert_array_equal(open_stack(paths[1], series=0).data, pixels[1])
    with pytest.raises(InputError, match="holds 1 images"):
        open_stack(paths[1], series=1)


def test_several_positions_in_each_file_are_numbered_within_it(tmp_path: Path) -> None:
    planes = noise(2, 2, 8, 9)
    names = [("a.ome.tif", "a"), ("b.ome.tif", "b")]
    images = "".join(
        image_xml(2 * f + i, (1, 1, 1, 8, 9), tiff_data(i, 1, file=file))
        for f, file in enumerate(names)
        for i in range(2)
    )
    for (name, uuid), two in zip(names, planes, strict=True):
        write_planes(tmp_path / name, two, ome(images, uuid))
    with pytest.raises(InputError, match="2 images.*--series"):
        open_stack(tmp_path / "b.ome.tif")
    stack = open_stack(tmp_path / "b.ome.tif", series=1)
    np.testing.assert_array_equal(stack.field()[0], planes[1, 1])


def files_of_one_image(folder: Path, data: np.ndarray) -> list[Path]:
    """One time point in each file, all carrying the description of the whole."""
    names = [(f"t{t}.ome.tif", f"uuid{t}") for t in range(len(data))]
    planes = "".join(tiff_data(0, 1, (t, 0, 0), file) for t, file in enumerate(names))
    for (name, uuid), frame in zip(names, data, strict=True):
        xml = ome(image_xml(0, data.shape, planes), uuid)
        write_planes(folder / name, frame.reshape(-1, *frame.shape[-2:]), xml)
    return [folder / name for name, _ in names]


def test_an_image_in_several_files_opens_as_one_from_each_of_them(tmp_path: Path) -> None:
    data = noise(4, 1, 1, 8, 9)
    paths = files_of_one_image(tmp_path, data)
    for path in paths:
        stack = open_stack(path)
        np.testing.assert_array_equal(np.asarray(stack.data), data)
        assert stack.files == tuple(paths)
        assert "4 files" in stack.notes[0]


@pytest.mark.fault(
    "8 files of an OME set are missing",
    "refused; names the files and the complete time points",
)
def test_missing_files_of_an_image_are_named(tmp_path: Path) -> None:
    data = noise(4, 1, 1, 8, 9)
    paths = files_of_one_image(tmp_path, data)
    paths[3].unlink()
    with pytest.raises(InputError, match=r"t3\.ome\.tif.*time points 0 to 2.*--t.*--tolerate"):
        open_stack(paths[0])
    np.testing.assert_array_equal(open_stack(paths[0], only_t=2).field(2)[0], data[2, 0, 0])
    with pytest.raises(InputError, match="missing"):
        open_stack(paths[0], only_t=2).field(3)
    with pytest.raises(InputError, match="missing"):
        open_stack(paths[0], only_t=3)


@pytest.mark.parametrize("kind", ["all in all", "no uuid"])
def test_a_single_file_that_was_renamed_opens(tmp_path: Path, kind: str) -> None:
    data = noise(2, 1, 1, 8, 9)
    (path,) = write_positions(tmp_path, [data], kind=kind)
    renamed = path.rename(tmp_path / "my cells.ome.tif")
    np.testing.assert_array_equal(np.asarray(open_stack(renamed).data), data)


def test_a_copy_beside_the_original_is_itself(tmp_path: Path) -> None:
    (path,) = write_positions(tmp_path, [noise(1, 1, 1, 8, 9)])
    copy = shutil.copy(path, tmp_path / "copy.ome.tif")
    other = noise(1, 1, 1, 8, 9, seed=5)
    write_planes(path, other[0, 0], "")
    np.testing.assert_array_equal(open_stack(copy).data, noise(1, 1, 1, 8, 9))


def test_a_file_of_a_set_that_was_renamed_is_refused_without_its_uuid(tmp_path: Path) -> None:
    paths = write_positions(tmp_path, [noise(1, 1, 1, 8, 9, seed=i) for i in range(2)],
                            kind="no uuid")  # fmt: skip
    renamed = paths[1].rename(tmp_path / "other.ome.tif")
    with pytest.raises(InputError, match=r"pos0\.ome\.tif, pos1\.ome\.tif.*name that it had"):
        open_stack(renamed)


def test_a_companion_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    paths = write_positions(tmp_path, [noise(1, 1, 1, 8, 9)], kind="companion")
    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(InputError, match=r"set\.companion\.ome, which is not beside it"):
        open_stack(paths[0])


def test_planes_described_as_images_of_two_kinds_are_refused(tmp_path: Path) -> None:
    images = image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1)) + image_xml(
        1, (1, 1, 1, 8, 9), tiff_data(0, 1), pixel_um=0.25
    )
    write_planes(tmp_path / "a.ome.tif", noise(1, 8, 9), ome(images))
    with pytest.raises(InputError, match="several images of different kind"):
        open_stack(tmp_path / "a.ome.tif")


def test_planes_of_another_kind_in_one_file_of_an_image_are_refused(tmp_path: Path) -> None:
    paths = files_of_one_image(tmp_path, noise(2, 1, 1, 8, 9))
    xml = ome(
        image_xml(0, (2, 1, 1, 8, 9), "".join(
            tiff_data(0, 1, (t, 0, 0), (p.name, f"uuid{t}")) for t, p in enumerate(paths)
        )), "uuid1",
    )  # fmt: skip
    write_planes(paths[1], np.ones((1, 8, 9), np.uint8), xml)
    with pytest.raises(InputError, match="planes differ"):
        open_stack(paths[0])
