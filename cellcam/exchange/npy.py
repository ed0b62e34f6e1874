"""Label images in NumPy's format, and Cellpose's ``_seg.npy``, of which nothing is executed.

``NAME_seg.npy`` is a pickle: a program, which Python runs when it is loaded in the usual way. Here
its instructions can name three things only, those that build arrays, and these are replaced by
descriptions of an array, which are checked before one is made.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

_MASKS = "masks"
_DTYPE = re.compile(r"[biufSUO]\d{0,5}")


def read_npy(path: Path) -> NDArray[np.generic]:
    """Label image in a ``.npy`` file: the array itself, or the masks of Cellpose.

    Returns
    -------
    array as it is stored, with any axes

    Raises
    ------
    InputError
        If it is damaged, holds no masks, or asks for anything but arrays and plain values.
    """
    try:
        with open(path, "rb") as file:
            pickled = _is_object(file)
            masks = _plain(_unpickled(file.read())) if pickled else None
        if not pickled:
            masks = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(masks, np.ndarray) and masks.dtype == object and masks.size == 1:
            masks = masks.ravel()[0]
        if isinstance(masks, dict):
            masks = _plain(masks.get(_MASKS))
    except _RefusedError as error:
        raise InputError(
            f"{path} asks for {error}, which files of Cellpose do not: it may be made to run a "
            "program. Refused. Save the masks in Cellpose as PNG or TIFF (_cp_masks)."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(
            f"{path} is no NumPy file that can be read: {error!r}. Save it again, in Cellpose as "
            "PNG or TIFF (_cp_masks)."
        ) from error
    if not isinstance(masks, np.ndarray) or masks.dtype.kind not in "buif":
        raise InputError(
            f"{path} holds no label image: the masks of Cellpose are an array of numbers. Save it "
            "again in Cellpose (Ctrl+S)."
        )
    return masks


def _is_object(file: BinaryIO) -> bool:
    """Whether a pickle follows the header of a file, which is read."""
    version = np.lib.format.read_magic(file)
    read: Callable[[BinaryIO], Any] = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read(file)
    return bool(dtype.hasobject)


def _unpickled(content: bytes) -> Any:
    """What a pickle describes.

    A number in its memory takes as much room as all numbers below it, so one that no file of this
    size needs would fill the memory.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(content):
            raise _RefusedError(f"{argument} remembered objects")
    return _Unpickler(io.BytesIO(content)).load()


class _RefusedError(Exception):
    """A pickle names something that builds no array."""


@dataclass
class _Dtype:
    """What a pickle says about the type of an array: its code, and the order of its bytes."""

    code: str
    order: str = "="

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _RefusedError(f"an array of type {code!r}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


@dataclass
class _Array:
    """What a pickle says about an array: the arguments of ``ndarray.__setstate__``."""

    state: tuple[Any, ...] = field(default_factory=tuple)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        """The array, from bytes that are all there."""
        _, shape, kind, is_fortran, content = self.state
        shape = tuple(int(n) for n in shape)
        if not isinstance(kind, _Dtype) or min(shape, default=0) < 0:
            raise _RefusedError("an array without a type")
        if kind.dtype.hasobject:
            values = np.empty(len(content), object)
            values[:] = content
        else:
            values = np.frombuffer(content, kind.dtype, math.prod(shape))
        return values.reshape(shape, order="F" if is_fortran else "C")


def _described_array(*_: object) -> _Array:
    return _Array()


def _described_number(kind: _Dtype, content: bytes = b"") -> object:
    """A number of NumPy; of other types nothing."""
    if not isinstance(kind, _Dtype) or kind.dtype.hasobject:
        return None
    return np.frombuffer(content, kind.dtype, 1)[0].item()


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain values; whatever else a pickle names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        parts = module.split(".")
        if parts[0] == "numpy" and parts[1:] in ([], ["core", "multiarray"], _NEW):
            known = {
                "ndarray": _Array,
                "dtype": _Dtype,
                "_reconstruct": _described_array,
                "scalar": _described_number,
            }
            if name in known:
                return known[name]
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: object) -> Any:
        raise _RefusedError(f"the object {pid!r} of another file")


_NEW = ["_core", "multiarray"]


def _plain(value: Any) -> Any:
    return value.array() if isinstance(value, _Array) else value
