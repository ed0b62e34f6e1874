from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellcam.explain.memory import Batches, is_out_of_memory, slices


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
