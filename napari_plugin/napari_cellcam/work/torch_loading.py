"""Loading torch into a process that draws with OpenGL."""

from __future__ import annotations

import sys
from functools import cache


def load_torch() -> None:
    """Import torch and MONAI, without Triton.

    Triton contains LLVM, and so do Mesa's OpenGL drivers: if Mesa was loaded first, importing
    Triton ends the process (docs/decisions/0010). torchvision imports Triton if it can, but works
    without it. Only compiling needs Triton; other plugins can still import it afterwards.
    """
    hidden = sys.platform == "linux" and not {"triton", "monai"} & set(sys.modules)
    if hidden:
        sys.modules["triton"] = None  # type: ignore[assignment] # an import of it fails
    try:
        import monai.networks.nets  # noqa: F401
    finally:
        if hidden:
            del sys.modules["triton"]


@cache  # each call would take one more core away
def leave_a_core() -> None:
    """Leave one core to the window, in the thread that computes.

    With all cores in use the window would wait, and on a busy machine the computing threads would
    wait for each other most of the time.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
