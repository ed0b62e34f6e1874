"""Files of microscopes: known pixels, names and scale come back; what is not there is said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.microscope_files import write_czi, write_lif, write_nd2

from cellcam import InputError, open_stack
from cellcam.stacks.czi import CziPixels
from cellcam.stacks.image_file import UnstatedFactError
from cellcam.stacks.missing_pixels import MissingPixelsError
from cellcam.stacks.stack import PixelSize

SHAPE = (2, 2, 3, 40, 50)
SIZE = (2.0, 0.5, 0.5)


def image(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, shape).astype(dtype)


def czi(path: Path, *images: np.ndarray, **options: Any) -> Path:
    return write_czi(path, images, ("DNA", "actin"), SIZE, **options)


def lif(path: Path, *images: np.ndarray) -> Path:
    named = {f"scan {i}": pixels for i, pixels in enumerate(images)}
    return write_lif(path, named, ("DNA", "actin"), SIZE)


def nd2(path: Path, *images: np.ndarray, **options: Any) -> Path:
    positions = np.stack(images, 1).transpose(0, 1, 3, 2, 4, 5)
    return write_nd2(path, positions, ("DNA", "actin"), (SIZE[0], SIZE[1]), **options)


WRITERS: dict[str, Callable[..., Path]] = {"czi": czi, "lif": lif, "nd2": nd2}
every_format = pytest.mark.parametrize("ending", WRITERS)


def written(folder: Path, ending: str, *images: np.ndarray, **options: Any) -> Path:
    return WRITERS[ending](folder / f"cells.{ending}", *images, **options)


@every_format
def test_pixels_names_and_scale_come_back(tmp_path: Path, ending: str) -> None:
    pixels = image()
    stack = open_stack(written(tmp_path, ending, pixels))
    np.testing.assert_array_equal(np.asarray(stack.data), pixels)
    assert stack.data.dtype == np.uint16
    assert stack.channels == ("DNA", "actin")
    assert stack.channels_named
    np.testing.assert_allclose(stack.pixel_size_um, SIZE)
    assert stack.name == "cells"
    assert stack.notes == ()


@every_format
def test_any_part_can_be_read(tmp_path: Path, ending: str) -> None:
    pixels = image()
    data = open_stack(written(tmp_path, ending, pixels)).data
    for part in [
        (1, 0, 2, slice(3, 9), slice(20, 50)),
        (slice(None), 1, slice(0, 3, 2), slice(39, 40), slice(None)),
        (0, [1, 0], 0, slice(5, 30, 7), slice(None, None, 3)),
    ]:
        np.testing.assert_array_equal(np.asarray(data[part]), pixels[part])
    np.testing.assert_array_equal(np.asarray(data.max(axis=2)), pixels.max(axis=2))


@pytest.mark.parametrize("ending", ["lif", "nd2"])
def test_the_time_step_is_read(tmp_path: Path, ending: str) -> None:
    assert open_stack(written(tmp_path, ending, image())).time_step_s == 30.0


@every_format
def test_of_several_images_one_is_chosen(tmp_path: Path, ending: str) -> None:
    images = [image(seed) for seed in range(3)]
    path = written(tmp_path, ending, *images)
    with pytest.raises(UnstatedFactError, match="3 images.*series") as caught:
        open_stack(path)
    assert [stated.axes for stated in caught.value.images.values()] == [
        {"nd2": "TZCYX"}.get(ending, "TCZYX")
    ] * 3
    assert caught.value.images[1].metadata.channels == ["DNA", "actin"]
    for number, pixels in enumerate(images):
        np.testing.assert_array_equal(np.asarray(open_stack(path, series=number).data), pixels)
    with pytest.raises(InputError, match="no series=3"):
        open_stack(path, series=3)


@every_format
def test_facts_of_the_user_count(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending, image())
    stack = open_stack(path, channels=["a", "b"], pixel_size_um=0.25, time_step_s=7)
    assert (stack.channels, stack.time_step_s) == (("a", "b"), 7)
    assert stack.pixel_size_um == PixelSize(2.0, 0.25, 0.25)


@every_format
def test_other_processes_read_the_same(tmp_path: Path, ending: str) -> None:
    pixels = image(shape=(1, 2, 1, 40, 50))
    path = written(tmp_path, ending, pixels)
    code = (
        "import sys; from cellcam import open_stack\n"
        "if __name__ == '__main__':\n"
        "    print(open_stack(sys.argv[1]).data.sum().compute(scheduler='processes'))"
    )
    script = tmp_path / "read.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == pixels.sum(dtype=np.int64)


@pytest.mark.fault("a file of a microscope is cut off or damaged", "refused, and the file is named")
@every_format
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_a_file_cut_off_is_refused(tmp_path: Path, ending: str, part: float) -> None:
    path = written(tmp_path, ending, image())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match="cells.*(damaged|cut off|no CZI|missing)"):
        open_stack(path).loaded()


@pytest.mark.fault("a file of a microscope with other bytes", "read, or refused by name")
@every_format
def test_random_damage_is_an_error_or_other_pixels(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending, image(shape=(1, 2, 1, 20, 30)))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        damaged = whole.copy()
        places = rng.integers(0, len(whole), 20)
        damaged[places] = rng.integers(0, 256, 20)
        path.write_bytes(damaged.tobytes())
        try:
            said = open_stack(path).loaded().name
        except InputError as error:
            said = str(error)
        assert "cells" in said


@pytest.mark.fault("a package that reads files of microscopes is missing", "named, how to install")
@pytest.mark.parametrize(
    ("ending", "module", "package"),
    [
        ("czi", "pylibCZIrw", "pylibCZIrw"),
        ("lif", "bioio_lif", "bioio-lif"),
        ("nd2", "bioio_nd2", "bioio-nd2"),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str, package: str
) -> None:
    path = written(tmp_path, ending, image())
    for name in [name for name in sys.modules if name.startswith(module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{package}.*pip install 'cellcam\[microscopes\]'"):
        open_stack(path)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    czi(tmp_path / "cells.czi", image())
    (tmp_path / "cells.nd2").write_bytes((tmp_path / "cells.czi").read_bytes())
    with pytest.raises(InputError, match="no ND2 file.*a Zeiss CZI file. Rename it to cells.czi"):
        open_stack(tmp_path / "cells.nd2")


def test_colours_of_a_czi_are_red_green_and_blue(tmp_path: Path) -> None:
    pixels = image(shape=(1, 1, 1, 30, 40, 3), dtype=np.uint8)
    stack = open_stack(write_czi(tmp_path / "cells.czi", [pixels]))
    assert stack.is_colour
    assert stack.channels == ("red", "green", "blue")
    expected = pixels[:, 0].transpose(0, 4, 1, 2, 3)
    np.testing.assert_array_equal(np.asarray(stack.data), expected)
    np.testing.assert_array_equal(
        np.asarray(stack.data[0, 1, 0, 3:9, ::2]), expected[0, 1, 0, 3:9, ::2]
    )


def test_a_czi_without_names_and_scale_has_none(tmp_path: Path) -> None:
    stack = open_stack(write_czi(tmp_path / "cells.czi", [image()]))
    assert not stack.channels_named
    assert stack.pixel_size_um == PixelSize()
    assert stack.time_step_s is None


def test_scenes_lie_anywhere_and_differ_in_size(tmp_path: Path) -> None:
    images = [image(0), image(1, (1, 2, 1, 60, 30))]
    path = czi(tmp_path / "cells.czi", *images, corners=[(-20, 300), (500, -7)], tile=16)
    for number, pixels in enumerate(images):
        np.testing.assert_array_equal(np.asarray(open_stack(path, series=number).data), pixels)


def test_a_part_of_a_czi_is_read_and_not_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = image(shape=(1, 1, 1, 3000, 5000))
    stack = open_stack(czi(tmp_path / "cells.czi", pixels, tile=512))
    assert stack.stored == (512, 512)
    read: list[int] = []
    original = CziPixels.__getitem__

    def counted(self: CziPixels, region: Any) -> Any:
        part = original(self, region)
        read.append(part.size)
        return part

    monkeypatch.setattr(CziPixels, "__getitem__", counted)
    part = np.asarray(stack.data[0, 0, 0, 100:200, 4000:4100])
    np.testing.assert_array_equal(part, pixels[0, 0, 0, 100:200, 4000:4100])
    assert sum(read) * 2 <= 2**24 < pixels.nbytes


@pytest.mark.fault("planes of a CZI or ND2 that were never acquired", "an error, or no data")
def test_planes_that_a_czi_lacks_are_missing(tmp_path: Path) -> None:
    pixels = image()
    path = czi(tmp_path / "cells.czi", pixels, missing=[(1, 0, 2)])
    with pytest.raises(MissingPixelsError, match="1 of 12 planes.*time points 0"):
        open_stack(path)
    read = np.asarray(open_stack(path, tolerate_missing=True).data)
    assert np.isnan(read[1, 0, 2]).all()
    assert np.isnan(read).sum() == 40 * 50
    np.testing.assert_array_equal(read[0], pixels[0])


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_that_an_nd2_lacks_are_missing(tmp_path: Path, compressed: bool) -> None:
    # Frames count along T, P, Z: 10 is the second plane of the third position at t = 0.
    images = [image(seed, (2, 2, 3, 40, 50)) for seed in range(4)]
    path = nd2(tmp_path / "cells.nd2", *images, missing=[7], compressed=compressed)
    with pytest.raises(MissingPixelsError, match="2 of 12 planes"):
        open_stack(path, series=2)
    read = np.asarray(open_stack(path, series=2, tolerate_missing=True).data)
    assert np.isnan(read[0, :, 1]).all()
    assert np.isnan(read).sum() == 2 * 40 * 50
    np.testing.assert_array_equal(np.asarray(open_stack(path, series=1).data), images[1])


def test_gaps_between_the_tiles_of_a_czi_are_said(tmp_path: Path) -> None:
    from pylibCZIrw import czi as library

    with library.create_czi(str(tmp_path / "cells.czi")) as file:
        for x in (0, 60):
            file.write(np.full((20, 20, 1), 7, np.uint16), location=(x, 0))
    stack = open_stack(tmp_path / "cells.czi")
    assert stack.data.shape == (1, 1, 1, 20, 80)
    assert "at most 50%" in stack.notes[0]


def test_an_nd2_that_was_not_calibrated_has_no_scale(tmp_path: Path) -> None:
    positions = image(shape=(1, 1, 1, 2, 40, 50))
    stack = open_stack(write_nd2(tmp_path / "cells.nd2", positions, size_um=None))
    assert stack.pixel_size_um == PixelSize()


def test_channels_of_one_name_must_be_named(tmp_path: Path) -> None:
    path = write_lif(tmp_path / "cells.lif", {"a": image()}, ("Gray", "Gray"))
    with pytest.raises(UnstatedFactError, match="same name: Gray, Gray"):
        open_stack(path)
    assert open_stack(path, channels=["DNA", "actin"]).channels == ("DNA", "actin")
