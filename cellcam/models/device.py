"""Which device the network runs on, and what it needs there."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from cellcam.errors import UsageError

if TYPE_CHECKING:
    import torch

# From <malloc.h>. Larger blocks than the first are asked of the system one by one: a layer of 64
# crops of 64 pixels is not, the pixels of a block of a slide are. Up to the second a process keeps
# what it freed.
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


@lru_cache(1)
def keep_freed_memory() -> None:
    """Let this process keep the memory of one layer for the next, where glibc would hand it back.

    Each layer of a network on a CPU frees some megabytes and asks for as many. Handed back, every
    page of them is a fault, which leaves a third of the speed; always so in Dask's workers, which
    are told to keep nothing (docs/decisions/0009).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_memory() -> None:
    """Hand all freed memory back: after a large piece of work it may be 100 MB and more."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
