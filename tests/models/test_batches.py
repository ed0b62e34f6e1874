from __future__ import annotations

import pytest
import torch

from cellcam.models.batches import Batches


def test_what_does_not_fit_is_halved_and_nothing_is_lost_or_done_twice() -> None:
    done: list[int] = []

    def work(part: slice) -> None:
        if part.stop - part.start > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(range(part.start, part.stop))

    batches = Batches(64)
    batches.run(100, work)
    assert done == list(range(100))
    assert batches.size == 8


def test_a_cell_that_does_not_fit_is_an_error() -> None:
    def work(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Batches(4).run(4, work)


def test_nothing_to_do_is_nothing_done() -> None:
    Batches(4).run(0, lambda part: pytest.fail("called"))
