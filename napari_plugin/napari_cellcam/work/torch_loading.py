"""Loading torch into a process that draws with OpenGL."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

# Of torch, in the order in which it loads them; only the first is open to all libraries.
_LIBRARIES = ("libtorch_global_deps", "libtorch_cpu", "libtorch_python")


def load_torch() -> None:
    """Import torch and MONAI, without Triton.

    Triton contains LLVM, and so do Mesa's OpenGL drivers: if Mesa was loaded first, importing
    Triton ends the process (docs/decisions/0010). torchvision imports Triton if it can, but works
    without it. Only compiling needs Triton; other plugins can still import it afterwards.
    """
    if "torch" not in sys.modules:
        _load_libraries()
    hidden = sys.platform == "linux" and not {"triton", "monai"} & set(sys.modules)
    if hidden:
        sys.modules["triton"] = None  # type: ignore[assignment] # an import of it fails
    try:
        import monai.networks.nets  # noqa: F401
    finally:
        if hidden:
            del sys.modules["triton"]


def _load_libraries() -> None:
    """Load torch's libraries while other threads run.

    Python's own import keeps all threads waiting while the system loads a library: the window
    stood still for half a second. What cannot be loaded here is left to the import.
    """
    torch = importlib.util.find_spec("torch")
    if sys.platform not in ("linux", "darwin") or torch is None or torch.origin is None:
        return
    ending = ".dylib" if sys.platform == "darwin" else ".so"
    # ctypes gives the other threads their turn during a call, but not while it loads by itself.
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    for name in _LIBRARIES:
        path = Path(torch.origin).parent / "lib" / f"{name}{ending}"
        scope = os.RTLD_GLOBAL if name == _LIBRARIES[0] else os.RTLD_LOCAL
        if path.is_file():
            load(os.fsencode(path), os.RTLD_NOW | scope)


@cache  # each call would take one more core away
def leave_a_core() -> None:
    """Leave one core to the window, in the thread that computes.

    With all cores in use the window would wait, and on a busy machine the computing threads would
    wait for each other most of the time.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
