"""Arithmetic and memory layout of a pass through the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Precision = Literal["float32", "auto"]

# A CPU convolves few positions with many features up to three times slower with the channels
# innermost (docs/decisions/0008).
_FEW_POSITIONS, _MANY_FEATURES = 4, 256
_CONVOLUTIONS = (torch.conv2d, torch.conv3d, torch.convolution)
_WORTHWHILE = 0.9  # of the time: other arithmetic must save a tenth


@dataclass(frozen=True)
class Execution:
    """How a pass is computed: with autocast to a reduced type, with channels innermost."""

    autocast: torch.dtype | None = None
    channels_last: bool = False

    def laid_out(self, x: Tensor) -> Tensor:
        """``x`` in this memory layout."""
        return channels_innermost(x) if self.channels_last else x

    @contextmanager
    def active(self, device: torch.device) -> Iterator[None]:
        """Within it, passes on ``device`` are computed so."""
        mixed = self.channels_last and self.autocast is None and device.type == "cpu"
        layouts = _PositionsInnermostWhereFaster() if mixed else nullcontext()
        arithmetic = torch.autocast(device.type, self.autocast) if self.autocast else nullcontext()
        with layouts, arithmetic:
            yield


@contextmanager
def repeatable() -> Iterator[None]:
    """Within it, cuDNN gives the same bytes for the same input; without a GPU nothing changes.

    Otherwise some of its gradients add up in the order in which they are ready, and algorithms
    may be chosen by trial.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def channels_innermost(x: Tensor) -> Tensor:
    """Copy of ``x`` (N, C, *spatial) with its channels innermost in memory."""
    # Written explicitly: torch accepts any layout of a single channel as either of the two.
    by_position = x.movedim(1, -1)
    written = torch.empty_like(by_position, memory_format=torch.contiguous_format)
    return written.copy_(by_position).movedim(-1, 1)


class _PositionsInnermostWhereFaster(TorchFunctionMode):
    """Within it, convolutions rearrange images with innermost channels where that is faster."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS or len(args) < 2 or not prefers_positions(*args[:2]):
            return func(*args, **kwargs)
        return channels_innermost(func(args[0].contiguous(), *args[1:], **kwargs))


def prefers_positions(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU convolves ``x`` (N, C, *space) faster with its positions innermost."""
    few_positions = x.ndim > 3 and x.shape[-1] <= _FEW_POSITIONS
    return few_positions and weight.shape[1] == x.shape[1] >= _MANY_FEATURES


def usual_execution(run: Callable[[Execution], object], device: torch.device) -> Execution:
    """The network's own precision, with channels innermost if the network accepts that.

    They are faster on CPUs and on CUDA's cards; on others nothing was measured.
    """
    channels_last = Execution(channels_last=True)
    if device.type not in ("cpu", "cuda"):
        return Execution()
    try:
        run(channels_last)
    except RuntimeError:  # a view in the network that needs the other layout
        return Execution()
    return channels_last


def fastest_execution(
    run: Callable[[Execution], object], device: torch.device, usual: Execution
) -> Execution:
    """The fastest execution of a pass, by trial; ``usual`` unless another is 10 % faster."""
    reduced = torch.float16 if device.type == "mps" else torch.bfloat16
    ways = {Execution(kind, last) for kind in (None, reduced) for last in (False, True)}
    seconds = {}
    for way in {usual, *ways}:
        seconds[way] = _seconds(run, way, device)
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] < _WORTHWHILE * seconds[usual] else usual


def _seconds(run: Callable[[Execution], object], way: Execution, device: torch.device) -> float:
    """Time of a pass, the faster of two after a first one; infinite where it cannot be run."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        try:
            run(way)
        except (RuntimeError, NotImplementedError):
            return float("inf")
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
