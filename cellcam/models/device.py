"""The device of the network, and memory that a process keeps or hands back."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from cellcam.errors import UsageError
from cellcam.explain.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

# Options of glibc's mallopt, from <malloc.h>. Blocks above _MMAP_BYTES are mapped one by one (the
# pixels of a block of a slide, not a layer of 64 crops of 64 pixels). A process keeps up to
# _KEPT_BYTES of freed memory.
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 17 * 2**20
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 2**27


def choose_device(name: str = "auto") -> torch.device:
    """Device by name: ``auto`` (a GPU, else the CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    UsageError
        If the name is unknown or this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"Device {name!r} cannot be used here ({str(error).splitlines()[0]}). "
            "Use --device cpu, or see what there is with 'cellcam info'."
        ) from error
    return device


def is_broken(error: BaseException) -> bool:
    """Whether a GPU is in an error state: each later call of the process would fail, too.

    Illegal addresses, failed assertions in kernels and uncorrectable memory errors are; running
    out of memory is not.
    """
    kinds = (type(error).__name__ == "AcceleratorError", str(error).startswith("CUDA error"))
    return any(kinds) and not is_out_of_memory(error)


@lru_cache(1)
def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next layer of the network.

    Each layer on a CPU frees some megabytes and allocates as many. Where glibc hands them back,
    page faults cost two thirds of the speed; Dask configures its workers to hand back all
    (docs/decisions/0008).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_memory() -> None:
    """Hand all freed memory back to the system: after a large task 100 MB and more."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
