from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellcam.explain.memory import Batches, batch_that_fits, is_out_of_memory, slices
from cellcam.models.device import is_broken


@pytest.mark.fault(
    "27 the GPU has no memory for a batch", "the batch is halved for good; each cell is done once"
)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost_or_done_twice() -> None:
    done: list[int] = []
    batches = Batches(64)
    for part in batches.over(100):
        with batches.fits():
            if part.stop - part.start > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            done.extend(range(part.start, part.stop))
    assert done == list(range(100))
    assert batches.size == 8


@pytest.mark.fault("27 the GPU has no memory for a single cell", "an error, no endless loop")
def test_an_image_that_does_not_fit_is_an_error() -> None:
    def run(batches: Batches) -> None:
        for _ in batches.over(4):
            with batches.fits():
                raise torch.OutOfMemoryError("CUDA out of memory")

    batches = Batches(4)
    with pytest.raises(torch.OutOfMemoryError):
        run(batches)
    assert batches.size == 1


@pytest.mark.fault("28 an error of the network that is not about memory", "not taken for one")
def test_other_errors_are_not_caught() -> None:
    batches = Batches(4)
    with pytest.raises(RuntimeError, match="shapes"), batches.fits():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert batches.size == 4


def test_the_cpus_error_counts_as_well() -> None:
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@given(st.integers(0, 50), st.integers(-3, 60))
def test_slices_cover_everything_once(count: int, step: int) -> None:
    covered = [i for part in slices(count, step) for i in range(part.start, part.stop)]
    assert covered == list(range(count))
    assert list(range(0)) == [
        i for part in Batches(3).over(0) for i in range(part.start, part.stop)
    ]


@pytest.mark.parametrize(
    ("free", "each", "batch"),
    [(3e9, 1e6, 512), (3e9, 1e5, 1024), (3e9, 0, 1024), (1e6, 1e6, 1), (9e6, 1e6, 2)],
)
def test_the_batch_is_a_power_of_two_that_takes_a_third_of_what_is_free(
    free: float, each: float, batch: int
) -> None:
    assert batch_that_fits(free, each) == batch
    assert batch_that_fits(1.2 * free, each) in (batch, 2 * batch)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
@pytest.mark.fault("27 the GPU's libraries have no memory", "taken for want of memory")
def test_libraries_of_the_gpu_run_out_of_memory_too(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_broken(RuntimeError(text))
