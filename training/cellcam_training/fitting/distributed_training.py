"""One training in several processes, one for each GPU, as started by ``torchrun``.

All processes run the same code, each on its part of every batch; only the first writes files.
Values that decide how a training continues are broadcast from the first process, so that all
processes decide alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes that ``torchrun`` started; without it, do nothing."""
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
    """Number of processes in the training."""
    import ignite.distributed as idist

    return idist.get_world_size()


def process_number() -> int:
    """Number of this process, from 0."""
    import ignite.distributed as idist

    return idist.get_rank()


def is_first_process() -> bool:
    """Whether this is the process that writes files and messages."""
    return process_number() == 0


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the body in the first process, and then in the others."""
    import ignite.distributed as idist

    with idist.one_rank_first():
        yield


def from_first_process(value: float) -> float:
    """Value of the first process, in all processes."""
    import ignite.distributed as idist

    return float(idist.broadcast(value, src=0)) if process_count() > 1 else value


def process_device(device: str) -> str:
    """Device of this process: in a distributed training ``auto`` is the process's GPU."""
    import ignite.distributed as idist

    return str(idist.device()) if process_count() > 1 and device == "auto" else device
