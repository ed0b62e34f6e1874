"""Loading torch into a process that draws with OpenGL."""

from __future__ import annotations

import sys
from functools import cache


def load_torch() -> None:
    """Import torch and MONAI, without Triton.

    Triton brings its own LLVM, and so do Mesa's OpenGL drivers: where Mesa was there first,
    importing Triton ends the process (docs/decisions/0011). torchvision imports it on the way
    and does without where it is missing. Only compiling needs it; other plugins that do so can
    still import it afterwards.
    """
    hidden = sys.platform == "linux" and not {"triton", "monai"} & set(sys.modules)
    if hidden:
        sys.modules["triton"] = None  # type: ignore[assignment] # an import of it fails
    try:
        import monai.networks.nets  # noqa: F401
    finally:
        if hidden:
            del sys.modules["triton"]


@cache  # once: each time it would take one more
def leave_a_core() -> None:
    """Leave one core to the window, in the thread that computes.

    Where computing takes all cores, the window waits for its turn, and on a busy machine the
    threads wait for each other most of the time.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
