from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from cellcam import open_stack
from cellcam.errors import UsageError
from cellcam.stacks import formats
from cellcam.stacks.formats import FORMATS, Format, file_endings, format_of, name_without_ending
from cellcam.stacks.image_file import ImageFile, Metadata
from cellcam.stacks.stack import PixelSize


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_every_format_has_a_function_that_opens_it(known: Format) -> None:
    assert callable(known.open_function())
    assert all(ending == ending.lower() and ending.startswith(".") for ending in known.endings)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/cells.ome.tif", "a/cells"),
        ("cells.OME.TIFF", "cells"),
        ("cells.ome.zarr", "cells"),
        ("cells.maps.ome.zarr", "cells.maps"),
        ("photo.JPEG", "photo"),
        ("movie.stk", "movie.stk"),
        ("tif", "tif"),
    ],
)
def test_names_lose_the_ending_of_their_format(name: str, expected: str) -> None:
    assert name_without_ending(name) == expected


def test_an_unknown_ending_is_tried_as_tiff() -> None:
    assert format_of(Path("movie.stk")).name == "TIFF"


def open_text(path: Path, axes: str | None, series: int | None) -> ImageFile:
    import dask.array as da

    pixels = da.from_array(np.loadtxt(path, dtype=np.uint8)[None])
    return ImageFile(pixels, "CYX", (1, 1, 1), Metadata(["DNA"], PixelSize(None, 0.5, 0.5), 9.0))


TEXT = Format("text", (".txt",), f"{__name__}:open_text")


def installed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    plugin = EntryPoint("text", value, "cellcam.readers")
    monkeypatch.setattr(formats, "entry_points", lambda group: [plugin])
    formats.known_formats.cache_clear()


@pytest.fixture(autouse=True)
def forget_plugins() -> object:
    yield
    formats.known_formats.cache_clear()


def test_a_reader_plugin_adds_a_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch, f"{__name__}:TEXT")
    (tmp_path / "cell.txt").write_text("1 2 3\n4 5 6\n")
    stack = open_stack(tmp_path / "cell.txt")
    np.testing.assert_array_equal(stack.field(), [[[1, 2, 3], [4, 5, 6]]])
    assert (stack.name, stack.channels, stack.time_step_s) == ("cell", ("DNA",), 9.0)
    assert stack.pixel_size_um == (None, 0.5, 0.5)
    assert ".txt" in file_endings()


@pytest.mark.parametrize("value", ["nowhere_at_all:TEXT", f"{__name__}:open_text"])
def test_a_broken_reader_plugin_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    installed(monkeypatch, value)
    with pytest.raises(UsageError, match="reader plugin 'text'"):
        file_endings()
