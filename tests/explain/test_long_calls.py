"""Progress, cancelling, running out of memory, and what many calls leave behind."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable

import psutil
import pytest
import torch
from support.networks import images, small_network
from torch import Tensor, nn

from cellcam import IntegratedGradCAM


def test_progress_is_told_and_can_cancel() -> None:
    told: list[tuple[int, int]] = []
    network, x = small_network(), images(5)
    IntegratedGradCAM(network, progress=lambda *now: told.append(now))(
        x, n_steps=4, internal_batch_size=2
    )
    assert {now[0] for now in told} == {0, 2, 4}
    assert {now[1] for now in told} == {5}

    def cancel(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    network.train()
    with pytest.raises(KeyboardInterrupt):
        IntegratedGradCAM(network, progress=cancel)(x, n_steps=4, internal_batch_size=2)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_halves_the_batch_when_memory_runs_out() -> None:
    class Narrow(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return self.network(x)

    network, x = small_network(), images(7)
    ours = IntegratedGradCAM(Narrow(network), "network.features")(
        x, n_steps=4, internal_batch_size=16
    )
    torch.testing.assert_close(ours.maps, IntegratedGradCAM(network)(x, n_steps=4).maps)


def test_nothing_returned_holds_a_graph() -> None:
    explanation = IntegratedGradCAM(small_network())(images(), "all", channels="each")
    tensors = [value for value in vars(explanation).values() if isinstance(value, Tensor)]
    assert len(tensors) >= 8
    assert not any(tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("settings", [{"n_steps": 2}, {"rtol": 0.5}])
def test_many_small_calls_leak_nothing(settings: dict[str, object]) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    ).eval()
    cam, x = IntegratedGradCAM(network, **settings), torch.rand(1, 1, 6, 6)
    calls = int(os.environ.get("CELLCAM_LEAK_CALLS", "400"))
    repeat(cam, x, calls)
    before = (bytes_in_use(), alive(), len(network[1]._forward_hooks))
    repeat(cam, x, calls)
    after = (bytes_in_use(), alive(), len(network[1]._forward_hooks))
    assert after[1] <= before[1]
    assert after[2] == before[2] == 0
    assert after[0] - before[0] < 2e6


def repeat(call: Callable[[Tensor], object], x: Tensor, times: int) -> None:
    for _ in range(times):
        call(x)
    gc.collect()


def alive() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


class _Allocated(ctypes.Structure):
    """What glibc's ``mallinfo2`` tells."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def bytes_in_use() -> int:
    """Bytes that are allocated, tensors included; without glibc those in memory.

    A process that has run many tests holds freed memory, which fills and empties again.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallinfo2"):
        return int(psutil.Process().memory_info().rss)
    libc.mallinfo2.restype = _Allocated
    told = libc.mallinfo2()
    return int(told.uordblks + told.hblkhd)


def test_what_is_in_use_is_seen() -> None:
    before = bytes_in_use()
    kept = [torch.ones(100) for _ in range(10_000)]
    assert 4e6 < bytes_in_use() - before < 30e6
    del kept
