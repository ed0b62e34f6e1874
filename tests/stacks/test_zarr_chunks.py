"""OME-Zarr images of other programs: chunks that are missing, damaged or links; their metadata."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from support.ome_files import noise

from cellcam import InputError, open_stack
from cellcam.stacks.missing_pixels import MissingPixelsError

DATA = noise(3, 2, 40, 50)


def write_zarr(
    path: Path, *, version: str = "0.4", data: np.ndarray = DATA, axes: str = "tcyx", **more: Any
) -> Path:
    """An image as ome-zarr-py writes it, in chunks of 1 x 1 x 16 x 16 pixels."""
    old = version != "0.5"
    group = zarr.open_group(path, mode="w", zarr_format=2 if old else 3)
    chunks = (*(1,) * (data.ndim - 2), 16, 16)
    how: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if old else {}
    array = group.create_array("0", shape=data.shape, chunks=chunks, dtype=data.dtype, **how)
    array[:] = data
    kinds = {"t": "time", "c": "channel"}
    units = {"t": {"unit": "minute"}, "y": {"unit": "nanometer"}, "x": {"unit": "micrometer"}}
    described = [{"name": a, "type": kinds.get(a, "space"), **units.get(a, {})} for a in axes]
    scale = [{"t": 2.0, "y": 300.0, "x": 0.3}.get(a, 1.0) for a in axes]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    scales = {"version": version, "axes": described, "datasets": [dataset]}
    content: dict[str, Any] = {"multiscales": [scales], **more}
    group.attrs.update(content if old else {"ome": {"version": version, **content}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_of_another_program(tmp_path: Path, version: str) -> None:
    names = {"omero": {"channels": [{"label": "DNA"}, {"label": "actin"}]}}
    stack = open_stack(write_zarr(tmp_path / "a.ome.zarr", version=version, **names))
    np.testing.assert_array_equal(np.asarray(stack.data)[:, :, 0], DATA)
    assert stack.channels == ("DNA", "actin")
    assert stack.pixel_size_um == (None, pytest.approx(0.3), 0.3)
    assert stack.time_step_s == 120
    again = pickle.loads(pickle.dumps(stack))
    np.testing.assert_array_equal(again.field(1), DATA[1])


def test_axes_of_old_versions(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", version="0.3")
    content = json.loads((path / ".zattrs").read_text())
    content["multiscales"][0] |= {"axes": list("tcyx"), "datasets": [{"path": "0"}]}
    (path / ".zattrs").write_text(json.dumps(content))
    stack = open_stack(path)
    np.testing.assert_array_equal(np.asarray(stack.data)[:, :, 0], DATA)
    assert stack.pixel_size_um == (None, None, None)


@pytest.mark.fault(
    "chunks of an OME-Zarr are missing: zarr reads zeros",
    "refused; offers the complete time points and no data",
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_missing_chunks(tmp_path: Path, version: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", version=version)
    (path / "0" / ("" if version == "0.4" else "c") / "1" / "0" / "2" / "3").unlink()
    with pytest.raises(MissingPixelsError, match=r"1 of 72 .*chunks.*0, 2.*--t.*--tolerate"):
        open_stack(path)
    np.testing.assert_array_equal(open_stack(path, only_t=2).field(2), DATA[2])
    expected = DATA.astype(np.float32)
    expected[1, 0, 32:, 48:] = np.nan
    stack = open_stack(path, tolerate_missing=True)
    np.testing.assert_array_equal(np.asarray(stack.data)[:, :, 0], expected)
    assert "no data" in stack.notes[0]


def test_chunks_of_zeros_may_be_missing_in_label_images(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint16)
    labels[:5, :5] = 3
    path = write_zarr(tmp_path / "a.zarr", data=labels, axes="yx", **{"image-label": {}})
    assert len(list((path / "0").rglob("[0-9]*"))) < 12 + 3
    np.testing.assert_array_equal(open_stack(path).field()[0], labels)


@pytest.mark.fault("a chunk of an OME-Zarr is damaged", "an error that names the image")
@pytest.mark.parametrize("damage", ["half", "empty", "junk"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_damaged_chunks(tmp_path: Path, damage: str, version: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", version=version)
    chunk = path / "0" / ("" if version == "0.4" else "c") / "1" / "0" / "0" / "0"
    content = chunk.read_bytes()
    broken = {"half": content[: len(content) // 2], "empty": b"", "junk": b"\xff" * len(content)}
    chunk.write_bytes(broken[damage])
    stack = open_stack(path)
    np.testing.assert_array_equal(stack.field(0), DATA[0])
    with pytest.raises(InputError, match=r"a\.ome\.zarr is damaged"):
        stack.field(1)


@pytest.mark.fault("8 a chunk or folder of an OME-Zarr is a link out of it", "refused")
@pytest.mark.parametrize("what", ["0", "0/1/0/0/0"])
def test_links_out_of_the_image(tmp_path: Path, what: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr")
    shutil.move(path / what, tmp_path / "outside")
    os.symlink(tmp_path / "outside", path / what)
    with pytest.raises(InputError, match="link to a file outside"):
        open_stack(path).field(0)


@pytest.mark.fault("5 an OME-Zarr declares 2^40 x 2^40 pixels", "refused")
@pytest.mark.parametrize("tolerate", [False, True])
def test_huge_declared_sizes(tmp_path: Path, tolerate: bool) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr")
    content = json.loads((path / "0" / ".zarray").read_text())
    for shape, chunks in [([1, 1, 2**40, 2**40], [1, 1, 16, 16]), ([1, 1, 2**40, 2**40],) * 2]:
        content |= {"shape": shape, "chunks": chunks}
        (path / "0" / ".zarray").write_text(json.dumps(content))
        with pytest.raises(InputError, match="declares"):
            open_stack(path, tolerate_missing=tolerate)


@pytest.mark.parametrize("damage", ["axes", "scale", "datasets", "text"])
def test_damaged_metadata(tmp_path: Path, damage: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr")
    content = json.loads((path / ".zattrs").read_text())
    scales = content["multiscales"][0]
    if damage == "axes":
        scales["axes"] = [{"nome": "y"}]
    elif damage == "scale":
        scales["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, "a"]
    elif damage == "datasets":
        scales["datasets"][0]["path"] = "../../other"
    text = "{" if damage == "text" else json.dumps(content)
    (path / ".zattrs").write_text(text)
    with pytest.raises(InputError, match=r"a\.ome\.zarr.*Export it again"):
        open_stack(path)


def test_folders_of_several_images(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for i in range(2):
        write_zarr(tmp_path / "a.zarr" / str(i), data=DATA + np.uint16(i))
    with pytest.raises(InputError, match="2 images.*--series"):
        open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_stack(tmp_path / "a.zarr", series=1).field(0), DATA[0] + 1)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.zarr" / "1").field(0), DATA[0] + 1)


def test_a_plate_says_where_its_images_are(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "p.zarr", mode="w", zarr_format=2)
    root.attrs["plate"] = {"wells": [{"path": "A/1"}]}
    with pytest.raises(InputError, match=r"plate of wells.*p\.zarr/A/1/0"):
        open_stack(tmp_path / "p.zarr")
