"""Who reads pixels: the process that wants them, whatever it is part of."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np

from cellcam import Stack


def test_reading_is_not_handed_to_a_cluster() -> None:
    def cluster(*_: Any, **__: Any) -> None:
        raise AssertionError("the cluster was asked")

    pixels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    stack = Stack.from_array(pixels, "CYX", ["DNA", "actin"])
    # Inside a worker, this is what Dask has for a scheduler unless told otherwise.
    with dask.config.set(scheduler=cluster):
        np.testing.assert_array_equal(stack.field(), pixels)
