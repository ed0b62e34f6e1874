"""NumPy files of labels, and Cellpose's pickles, some of which are made to run programs."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellcam import InputError, Stack, open_labels
from cellcam.cells.finder import FieldView
from cellcam.exchange.npy import read_npy

MASKS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)


def seg(**changes: Any) -> dict[str, Any]:
    """What Cellpose's window saves beside an image."""
    return {
        "outlines": MASKS * 0,
        "colors": np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        "masks": MASKS,
        "chan_choose": [0, 0],
        "filename": "plate1.tif",
        "flows": [np.zeros((1, 2, 3), np.float32), [], None],
        "ismanual": np.zeros(2, bool),
        "est_diam": np.float64(17.5),
        "zdraw": [None, None],
        **changes,
    }


def save(path: Path, content: object) -> Path:
    np.save(path, np.array(content), allow_pickle=True)
    return path


def save_pickle(path: Path, content: bytes) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + content)
    return path


def test_the_masks_of_cellpose(tmp_path: Path) -> None:
    found = read_npy(save(tmp_path / "a_seg.npy", seg()))
    np.testing.assert_array_equal(found, MASKS)
    assert found.dtype == np.uint16


@pytest.mark.parametrize(
    "masks",
    [MASKS.astype(">i4"), np.asfortranarray(MASKS), np.stack([MASKS] * 3), MASKS.astype(float)],
)
def test_any_layout_of_masks(tmp_path: Path, masks: np.ndarray) -> None:
    np.testing.assert_array_equal(read_npy(save(tmp_path / "a.npy", seg(masks=masks))), masks)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("core", ["core", "_core"])
def test_pickles_of_all_versions_of_numpy(tmp_path: Path, protocol: int, core: str) -> None:
    wrapped = np.array(seg(masks=MASKS.astype(np.int32)))
    content = pickle.dumps(wrapped, protocol)
    if core == "core":  # as NumPy 1 wrote it; protocol 4 states the length of names
        content = content.replace(
            b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
        )
        content = content.replace(b"cnumpy._core", b"cnumpy.core")
        content = content.replace(b"\x80\x04\x95", b"\x80\x04\x95")
    if protocol == 4 and core == "core":
        content = unframed(content)
    path = save_pickle(tmp_path / "a_seg.npy", content)
    if protocol == 2:  # its arrays are texts, which only a function of the codecs turns to bytes
        with pytest.raises(InputError, match="_codecs.encode"):
            read_npy(path)
    else:
        np.testing.assert_array_equal(read_npy(path), MASKS)


def unframed(content: bytes) -> bytes:
    """A pickle of protocol 4 whose frame no longer has the length that it states."""
    return content[:2] + content[11:]


def test_a_plain_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MASKS)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), MASKS)


def test_they_are_labels_with_the_axes_of_the_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a_seg.npy", seg(masks=np.stack([MASKS, MASKS * 3])))
    image = Stack.from_array(np.zeros((2, 2, 3)), "TYX", ["DNA"], name="image")
    finder = open_labels(path, image)
    np.testing.assert_array_equal(finder.label(FieldView.whole(image, 1), None), MASKS * 3)
    with pytest.raises(InputError, match="image other has 4 x 3 pixels"):
        open_labels(path, Stack.from_array(np.zeros((4, 3)), "YX", ["DNA"], name="other"))


class Runs:
    """Pickled as a call of any function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.fault("a NumPy file of Cellpose that is made to run a program", "refused, nothing ran")
class TestHostile:
    @pytest.mark.parametrize("protocol", range(6))
    def test_a_call_of_the_system(self, tmp_path: Path, protocol: int) -> None:
        import os

        command = f"touch {tmp_path / 'ran'}"
        for place in (Runs(os.system, command), seg(colors=Runs(os.system, command))):
            path = save_pickle(tmp_path / "a_seg.npy", pickle.dumps(place, protocol))
            with pytest.raises(InputError, match="asks for .*Refused.*_cp_masks"):
                read_npy(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "function",
        [eval, exec, open, getattr, __import__, np.load, np.fromfile, np.memmap, np.lib.format],
    )
    def test_other_functions_those_of_numpy_too(self, tmp_path: Path, function: Any) -> None:
        if callable(function):
            content = pickle.dumps(Runs(function, "x"))
        else:
            content = b"cnumpy.lib.format\nopen_memmap\n(S'x'\ntR."
        with pytest.raises(InputError, match="asks for"):
            read_npy(save_pickle(tmp_path / "a.npy", content))

    def test_attributes_of_what_is_allowed(self, tmp_path: Path) -> None:
        # Protocol 4 takes dotted names apart.
        content = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."
        with pytest.raises(InputError, match=r"numpy.ndarray.__init__"):
            read_npy(save_pickle(tmp_path / "a.npy", content))

    def test_modules_beside_those_that_are_allowed(self, tmp_path: Path) -> None:
        content = b"cnumpy.core.multiarray.x\n_reconstruct\n."
        with pytest.raises(InputError, match="asks for"):
            read_npy(save_pickle(tmp_path / "a.npy", content))

    @pytest.mark.parametrize(
        "state",
        [
            (1, (10**9, 10**9), np.dtype("u8"), False, b"1"),
            (1, (-1,), np.dtype("u8"), False, b"12345678"),
            (1, (2,), np.dtype("O"), False, [1]),
            (1, (2,), None, False, b"12"),
            (1, (2,)),
        ],
    )
    def test_arrays_that_their_bytes_do_not_fill(self, tmp_path: Path, state: Any) -> None:
        class Described:
            def __reduce__(self) -> Any:
                return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

        path = save_pickle(tmp_path / "a.npy", pickle.dumps({"masks": Described()}, 4))
        with pytest.raises(InputError):
            read_npy(path)

    def test_types_that_are_no_plain_numbers(self, tmp_path: Path) -> None:
        masks = np.zeros(2, [("a", int)])
        with pytest.raises(InputError):
            read_npy(save(tmp_path / "a.npy", seg(masks=masks)))

    def test_another_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="object 'x' of another file"):
            read_npy(save_pickle(tmp_path / "a.npy", b"Px\n."))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no NumPy file"),
            (b"\x93NUMPY\x01\x00", "no NumPy file"),
            (b"not numpy", "no NumPy file"),
        ],
    )
    def test_damaged_files(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_npy(tmp_path / "a.npy")

    @pytest.mark.parametrize("content", [seg(masks=None), {"a": 1}, [1, "a"], seg(masks="x")])
    def test_no_masks(self, tmp_path: Path, content: object) -> None:
        with pytest.raises(InputError, match="no label image"):
            read_npy(save(tmp_path / "a.npy", content))
