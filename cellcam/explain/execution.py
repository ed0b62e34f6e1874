"""How passes are run on a device: precision, memory layout, how many images at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Precision = Literal["float32", "auto"]

# On two cores 64 crops of 64 x 64 or 5 images of 224 x 224 are fastest: larger tensors are
# handed back to the system and cost page faults when they are asked for again.
_PIXELS_AT_ONCE_ON_CPU = 2**18
_IMAGES_AT_ONCE_ON_GPU = 1024
# Convolutions with the channels innermost lose up to two thirds of their speed on rows of at most
# so many positions with at least so many features (docs/decisions/0009).
_FEW_POSITIONS, _MANY_FEATURES = 4, 256
_CONVOLUTIONS = (torch.conv2d, torch.conv3d, torch.convolution)
# Changing the arithmetic must pay.
_WORTHWHILE = 0.9


@dataclass(frozen=True)
class Execution:
    """Arithmetic of a pass.

    Attributes
    ----------
    autocast : type to compute in where that is safe, None for the network's own
    channels_last : whether images are laid out with the channels innermost
    """

    autocast: torch.dtype | None = None
    channels_last: bool = False

    def laid_out(self, x: Tensor) -> Tensor:
        """``x`` in this memory layout; the same values."""
        return innermost(x) if self.channels_last else x

    @contextmanager
    def active(self, device: torch.device) -> Iterator[None]:
        """Within it, passes compute as said."""
        layouts = _UsualLayoutWhereFaster() if self._is_innermost_on_cpu(device) else nullcontext()
        arithmetic = torch.autocast(device.type, self.autocast) if self.autocast else nullcontext()
        with layouts, arithmetic:
            yield

    def _is_innermost_on_cpu(self, device: torch.device) -> bool:
        return self.channels_last and self.autocast is None and device.type == "cpu"


def innermost(x: Tensor) -> Tensor:
    """``x`` (N, C, *spatial) with its channels innermost in memory."""
    # Written anew: of a single channel torch takes any layout for both.
    by_position = x.movedim(1, -1)
    written = torch.empty_like(by_position, memory_format=torch.contiguous_format)
    return written.copy_(by_position).movedim(-1, 1)


class _UsualLayoutWhereFaster(TorchFunctionMode):
    """Within it convolutions of what has its channels innermost rearrange it where that pays."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS or len(args) < 2 or not wants_usual_layout(*args[:2]):
            return func(*args, **kwargs)
        result = func(args[0].contiguous(), *args[1:], **kwargs)
        return innermost(result)


def wants_usual_layout(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU convolves ``x`` faster with its positions innermost, rearranging included.

    Parameters
    ----------
    x : (N, C, *space) tensor
    weight : (D, C / groups, *kernel) tensor
    """
    few_positions = x.ndim > 3 and x.shape[-1] <= _FEW_POSITIONS
    return few_positions and weight.shape[1] == x.shape[1] >= _MANY_FEATURES


def usual_execution(run: Callable[[Execution], object], device: torch.device) -> Execution:
    """The network's own precision; on a CPU with the channels innermost, if it can be run so.

    Convolutions on a CPU then need not rearrange what they are given: a tenth to a quarter
    less time on all networks tried, 2-D and 3-D.
    """
    channels_last = Execution(channels_last=True)
    if device.type != "cpu":
        return Execution()
    try:
        run(channels_last)
    except RuntimeError:  # a view in the network that needs the other layout
        return Execution()
    return channels_last


def fastest_execution(
    run: Callable[[Execution], object], device: torch.device, usual: Execution
) -> Execution:
    """The fastest way to run a pass here, by trying; ``usual`` unless another is 10 % faster.

    Parameters
    ----------
    run : makes one pass
    device : where it runs
    usual : what to compare with
    """
    reduced = torch.float16 if device.type == "mps" else torch.bfloat16
    ways = {Execution(kind, last) for kind in (None, reduced) for last in (False, True)}
    seconds = {way: _seconds(run, way, device) for way in {usual, *ways}}
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] < _WORTHWHILE * seconds[usual] else usual


def automatic_batch_size(run: Callable[[Tensor], object], x: Tensor, device: torch.device) -> int:
    """How many images to run at once: a constant on a CPU, from free memory on a GPU.

    Parameters
    ----------
    run : makes one pass with gradients, for images (n, C, *spatial) on the device
    x : (N, C, *spatial) tensor
    """
    if device.type != "cuda":
        return max(1, _PIXELS_AT_ONCE_ON_CPU // x[0, 0].numel())
    probe = x[:4].to(device)
    run(probe)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run(probe)
    for_one = (torch.cuda.max_memory_allocated(device) - before) / len(probe)
    reserved = torch.cuda.memory_reserved(device) - before
    free = torch.cuda.mem_get_info(device)[0] + reserved
    return int(min(max(free / 3 / for_one, 1), _IMAGES_AT_ONCE_ON_GPU))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left for a tensor."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text
    )


def _seconds(run: Callable[[Execution], object], way: Execution, device: torch.device) -> float:
    """Time of a pass, the faster of two after a first one; infinite where it cannot be run."""
    times = []
    try:
        for _ in range(3):
            started = time.perf_counter()
            run(way)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    except (RuntimeError, NotImplementedError):
        return float("inf")
    return min(times[1:])
