"""Loading torch into a process that draws with OpenGL."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from napari_cellcam.work.garbage import left_out_of_collections


def torch_is_loaded() -> bool:
    """Whether `load_torch` would return at once."""
    return "monai.networks.nets" in sys.modules


def load_torch() -> None:
    """Import torch and MONAI, without Triton.

    Triton contains LLVM, and so do Mesa's OpenGL drivers: if Mesa was loaded first, importing
    Triton ends the process (docs/decisions/0010). torchvision imports Triton if it can, but works
    without it. Only compiling needs Triton; other plugins can still import it afterwards.
    """
    if torch_is_loaded():
        return
    _load_libraries()
    hidden = sys.platform == "linux" and not {"triton", "monai"} & set(sys.modules)
    if hidden:
        sys.modules["triton"] = None  # type: ignore[assignment] # an import of it fails
    try:
        with left_out_of_collections():
            import monai.networks.nets  # noqa: F401
    finally:
        if hidden:
            del sys.modules["triton"]


def _load_libraries() -> None:
    """Load torch's shared libraries while Python goes on in other threads.

    An import holds Python's lock for as long as the operating system loads a library: 0.25 s in
    which the window would stand still. A C function that is called through ctypes does not hold
    it. If this fails, the import loads them.
    """
    torch = find_spec("torch")
    if sys.platform == "win32" or "torch" in sys.modules or torch is None or torch.origin is None:
        return
    library = "libtorch.dylib" if sys.platform == "darwin" else "libtorch.so"
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    load(os.fsencode(Path(torch.origin).parent / "lib" / library), os.RTLD_LAZY)


@cache  # each call would take one more core away
def leave_a_core() -> None:
    """Leave one core to the window, in the thread that computes.

    With all cores in use the window would wait, and on a busy machine the computing threads would
    wait for each other most of the time.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
