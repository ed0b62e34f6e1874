"""How many images go through a network at once, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# 64 crops of 64 x 64 pixels; larger tensors are handed back to the system by each layer.
_PIXELS_ON_CPU, _IMAGES_ON_GPU = 2**18, 1024
# Libraries beside torch's allocator say it in their own words; torch tries all algorithms of a
# convolution, and says at the end that it found none, if none got its workspace.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
)


class Batches:
    """Number of images in a batch, ``size``, halved for good when memory runs out.

    Use as ``for part in batches.over(n): with batches.fits(): work(part)``.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._failed = False

    def over(self, count: int, paths_each: int = 1) -> Iterator[slice]:
        """Slices that cover ``count`` images; a slice that did not fit comes again, halved."""
        first = 0
        while first < count:
            self._failed = False
            stop = min(first + max(1, self.size // paths_each), count)
            yield slice(first, stop)
            first = first if self._failed else stop

    @contextmanager
    def fits(self) -> Iterator[None]:
        """Within it, running out of memory halves the batch; it is raised for a single image."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not is_out_of_memory(error):
                raise
            self._failed = True
        if self._failed:  # after the error, whose traceback held tensors
            import torch

            self.size //= 2
            torch.cuda.empty_cache()  # does nothing where CUDA was not used


def slices(count: int, step: int) -> list[slice]:
    """Slices of ``step`` that cover ``count``."""
    step = max(1, step)
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def automatic_batch_size(run: Callable[[Tensor], object], x: Tensor, device: torch.device) -> int:
    """Batch size: a constant number of pixels on a CPU, from free memory on a GPU.

    ``run`` makes a pass with gradients, of images (n, C, *spatial) on the device.
    """
    import torch

    if device.type != "cuda":
        return max(1, _PIXELS_ON_CPU // x[0, 0].numel())
    probe, trial = x[:4], Batches(4)
    for part in trial.over(len(probe)):
        with trial.fits():
            run(probe[part].to(device))
    probe = probe[: trial.size].to(device)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run(probe)
    bytes_each = (torch.cuda.max_memory_allocated(device) - before) / len(probe)
    reserved = torch.cuda.memory_reserved(device) - before
    free = torch.cuda.mem_get_info(device)[0] + reserved
    return batch_that_fits(free, bytes_each)


def batch_that_fits(free: float, bytes_each: float) -> int:
    """Images whose passes take a third of the ``free`` bytes, at most 1024.

    A power of two: the last bits of a pass depend on the batch size, which must not change with
    every megabyte that another program takes.
    """
    images = min(max(free / 3 / max(bytes_each, 1), 1), _IMAGES_ON_GPU)
    return 1 << int(images).bit_length() - 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left for a tensor."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
    )
