"""Any TIFF that can be written comes back bit by bit, with its axes and channels in order."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ome_files import image_xml, noise, ome, tiff_data, write_planes

from cellcam import InputError, open_stack

DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
AXES = "TCZYX"


@st.composite
def images(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES) -> tuple[str, np.ndarray]:
    """Axes and pixels; the lengths of the axes differ, so that a wrong order shows."""
    outer = draw(st.permutations([a for a in "TCZ" if draw(st.booleans())]))
    axes = "".join(outer) + "YX"
    lengths = {"T": 2, "C": 3, "Z": 5, "Y": draw(st.integers(2, 40)), "X": draw(st.integers(2, 40))}
    shape = [lengths[a] for a in axes]
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return axes, random.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]


def in_tczyx(axes: str, pixels: np.ndarray) -> np.ndarray:
    ordered = pixels.transpose([axes.index(a) for a in AXES if a in axes])
    return ordered[tuple(slice(None) if a in axes else None for a in AXES)]


def assert_opens_as(path: Path, expected: np.ndarray, **facts: Any) -> None:
    data = np.asarray(open_stack(path, **facts).data)
    assert data.shape == expected.shape
    assert data.dtype == expected.dtype.newbyteorder("=")
    assert data.tobytes() == np.ascontiguousarray(expected.astype(data.dtype)).tobytes()


STORAGE = st.fixed_dictionaries(
    {
        "byteorder": st.sampled_from("<>"),
        "bigtiff": st.booleans(),
        "tile": st.sampled_from([None, (16, 16), (32, 16)]),
        "compression": st.sampled_from([None, "zlib", "lzw", "zstd"]),
        "contiguous": st.booleans(),
    }
)


@settings(max_examples=25)
@given(images(), STORAGE, st.sampled_from(["ome", "shaped", "plain"]))
def test_what_is_written_is_read(
    image: tuple[str, np.ndarray], storage: dict[str, Any], flavour: str
) -> None:
    axes, pixels = image
    if flavour == "ome" and pixels.dtype == np.float16:
        flavour = "shaped"  # OME has no such type
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        metadata = None if flavour == "plain" else {"axes": axes}
        with tifffile.TiffWriter(
            path, ome=flavour == "ome", byteorder=storage["byteorder"], bigtiff=storage["bigtiff"]
        ) as tif:
            how = {k: storage[k] for k in ("tile", "compression")}
            how["contiguous"] = storage["contiguous"] and not any(how.values())
            if flavour == "plain":
                for plane in pixels.reshape(-1, *pixels.shape[-2:]):
                    tif.write(plane, photometric="minisblack", metadata=None, **how)
                if len(axes) > 3:  # several axes in one row of pages cannot be told apart
                    return
            else:
                tif.write(pixels, photometric="minisblack", metadata=metadata, **how)
        stated = axes if flavour == "plain" else None
        assert_opens_as(path, in_tczyx(axes, pixels), axes=stated)


@settings(max_examples=15)
@given(images(["uint8", "uint16", "float32"]), st.booleans())
def test_imagej_hyperstacks(image: tuple[str, np.ndarray], in_one_run: bool) -> None:
    axes, pixels = image
    in_order = "".join(a for a in "TZCYX" if a in axes)
    pixels = pixels.transpose([axes.index(a) for a in in_order])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        tifffile.imwrite(
            path, pixels, imagej=True, photometric="minisblack", metadata={"axes": in_order},
            compression=None if in_one_run else "zlib",
        )  # fmt: skip
        assert_opens_as(path, in_tczyx(in_order, pixels))


@settings(max_examples=15)
@given(st.permutations("CZT"), st.integers(0, 2**32 - 1), st.data())
def test_planes_of_an_ome_file_in_any_order(
    order: list[str], seed: int, data: st.DataObject
) -> None:
    pixels = noise(2, 3, 2, 5, 7, seed=seed)
    places = [(t, c, z) for t in range(2) for c in range(3) for z in range(2)]
    pages = data.draw(st.permutations(places))
    planes = "".join(tiff_data(i, 1, place) for i, place in enumerate(pages))
    xml = image_xml(0, pixels.shape, planes, channels=["a", "b", "c"])
    xml = xml.replace("XYZCT", "XY" + "".join(order))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ome.tif"
        write_planes(path, np.stack([pixels[place] for place in pages]), ome(xml))
        assert_opens_as(path, pixels)
        assert open_stack(path).channels == ("a", "b", "c")


@pytest.mark.fault("12 kinds of pixels", "each is read as its value, bit by bit")
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_become_channels(tmp_path: Path, samples: int, planar: str, dtype: str) -> None:
    pixels = noise(6, 7, samples).astype(dtype)
    written = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", written, photometric="rgb", planarconfig=planar, **extra)
    stack = open_stack(tmp_path / "a.tif")
    assert stack.channels == ("red", "green", "blue", "alpha")[:samples]
    np.testing.assert_array_equal(stack.field(), np.moveaxis(pixels, 2, 0))


@pytest.mark.fault("12 samples that are no red, green and blue", "no channel is named so; a note")
@pytest.mark.parametrize(
    ("kind", "samples", "note"),
    [("separated", 4, "ink"), ("cielab", 3, "CIE"), ("minisblack", 3, None), ("rgb", 3, None)],
)
def test_other_samples_are_not_called_red_green_and_blue(
    tmp_path: Path, kind: str, samples: int, note: str | None
) -> None:
    pixels = noise(6, 7, samples).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, planarconfig="contig")
    stack = open_stack(tmp_path / "a.tif")
    assert stack.channels_named == (kind == "rgb")
    np.testing.assert_array_equal(stack.field(), np.moveaxis(pixels, 2, 0))
    assert [note in told for told in stack.notes] == ([True] if note else [])


@pytest.mark.fault("12 stored values that viewers show otherwise", "used as stored; a note says so")
def test_values_that_do_not_mean_brightness_have_a_note(tmp_path: Path) -> None:
    pixels, path = noise(6, 7).astype(np.uint8), tmp_path / "a.tif"
    ramp = np.arange(256, dtype=np.uint16) * 257
    tables = {
        "green": np.stack([0 * ramp, ramp, 0 * ramp]),
        "inverted": np.stack([ramp[::-1]] * 3),
        "colours": np.random.default_rng(0).permuted(np.stack([ramp] * 3), axis=1),
    }
    notes = {}
    for name, table in tables.items():
        tifffile.imwrite(path, pixels, photometric="palette", colormap=table)
        np.testing.assert_array_equal(open_stack(path).field()[0], pixels)
        notes[name] = open_stack(path).notes
    assert (notes["green"], notes["inverted"]) == ((), ())
    assert "no intensities" in notes["colours"][0]
    tifffile.imwrite(path, pixels, photometric="miniswhite")
    assert "0 is white" in open_stack(path).notes[0]


def page_by_hand(bits: int, pixels: bytes, order: str = "<") -> bytes:
    """A page of 8 x 2 pixels with so many bits each."""
    tags = [(256, 8), (257, 2), (258, bits), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4),
            (277, 1), (278, 2), (279, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack(f"{order}HHIHxx", tag, 3, 1, value) for tag, value in tags)
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags))
    return head + entries + bytes(4) + pixels


@pytest.mark.fault("12 one bit, twelve bits, big-endian", "each is read as its value")
@pytest.mark.parametrize("order", ["<", ">"])
def test_kinds_of_pixels_written_by_hand(tmp_path: Path, order: str) -> None:
    (tmp_path / "1.tif").write_bytes(page_by_hand(1, bytes([0b10110001, 0b01000000]), order))
    np.testing.assert_array_equal(
        open_stack(tmp_path / "1.tif").field()[0],
        [[1, 0, 1, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0]],
    )
    values = np.arange(16, dtype=np.uint16).reshape(2, 8) * 273
    bits = "".join(f"{v:012b}" for v in values.ravel())
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    (tmp_path / "12.tif").write_bytes(page_by_hand(12, packed, order))
    np.testing.assert_array_equal(open_stack(tmp_path / "12.tif").field()[0], values)
    (tmp_path / "16.tif").write_bytes(
        page_by_hand(16, values.astype(f"{order}u2").tobytes(), order)
    )
    np.testing.assert_array_equal(open_stack(tmp_path / "16.tif").field()[0], values)


def test_values_that_are_no_intensities_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 9), np.complex64))
    with pytest.raises(InputError, match="complex64, which are no intensities"):
        open_stack(tmp_path / "a.tif")


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=60), st.integers(0, 1400), st.sampled_from("<>"))
def test_files_with_other_bytes_in_them_open_or_are_refused(
    junk: bytes, place: int, order: str
) -> None:
    pixels = np.arange(2 * 3 * 16 * 16, dtype=np.uint16).reshape(2, 3, 16, 16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ome.tif"
        tifffile.imwrite(
            path, pixels, ome=True, byteorder=order, tile=(16, 16), compression="zlib",
            photometric="minisblack", metadata={"axes": "TCYX"},
        )  # fmt: skip
        content = bytearray(path.read_bytes())
        content[place : place + len(junk)] = junk
        path.write_bytes(content)
        for tolerate in (False, True):
            try:
                stack = open_stack(path, tolerate_missing=tolerate)
                assert stack.data.nbytes < 2**26
                stack.loaded()
            except InputError as error:
                said = str(error)
            else:
                said = "a.ome.tif"
            assert "a.ome.tif" in said
