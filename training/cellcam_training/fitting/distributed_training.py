"""One training in several processes, one for each GPU: what `torchrun` starts.

All processes do the same, each on its part of every batch, and only the first one writes. What
decides how they go on comes from the first one too, so that they never part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def joined_processes() -> Iterator[None]:
    """Within it, processes that `torchrun` started belong together; without it, nothing happens."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    import ignite.distributed as idist

    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        idist.finalize()


def process_count() -> int:
    """How many processes train together."""
    import ignite.distributed as idist

    return idist.get_world_size()


def process_number() -> int:
    """Number of this process among them, from 0."""
    import ignite.distributed as idist

    return idist.get_rank()


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return process_number() == 0


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """Within it, the first process is done before the others begin."""
    import ignite.distributed as idist

    with idist.one_rank_first():
        yield


def agreed(value: float) -> float:
    """The first process's value."""
    import ignite.distributed as idist

    return float(idist.broadcast(value, src=0)) if process_count() > 1 else value


def own_device(device: str) -> str:
    """Device of this process: its own GPU where there are several processes."""
    import ignite.distributed as idist

    return str(idist.device()) if process_count() > 1 and device == "auto" else device
