from __future__ import annotations

from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellcam import InputError, Stack


def test_a_dask_worker_reads_pixels_in_its_process() -> None:
    def cluster(*_: Any, **__: Any) -> None:
        raise AssertionError("the cluster was asked")

    pixels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    stack = Stack.from_array(pixels, "CYX", ["DNA", "actin"])
    # Inside a worker, this is what Dask has for a scheduler unless told otherwise.
    with dask.config.set(scheduler=cluster):
        np.testing.assert_array_equal(stack.field(), pixels)


@given(order=st.permutations("TCZYX"), data=st.data())
@settings(max_examples=30)
def test_any_order_of_axes_becomes_tczyx(order: list[str], data: st.DataObject) -> None:
    kept = [a for a in order if a in "YX" or data.draw(st.booleans())]
    sizes = {axis: data.draw(st.integers(1, 4)) for axis in kept}
    array = np.arange(np.prod([sizes[a] for a in kept])).reshape([sizes[a] for a in kept])
    stack = Stack.from_array(array, "".join(kept))
    assert stack.data.shape == tuple(sizes.get(axis, 1) for axis in "TCZYX")
    place = {axis: sizes[axis] - 1 for axis in kept}
    value = np.asarray(stack.data)[tuple(place.get(axis, 0) for axis in "TCZYX")]
    assert value == array[tuple(place[axis] for axis in kept)]


class TestFields:
    stack = Stack.from_array(
        np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6), "TCZYX", "abc"
    )

    def test_a_plane(self) -> None:
        np.testing.assert_array_equal(
            self.stack.field(1, 2, ["c", "a"]), np.asarray(self.stack.data)[1, [2, 0], 2]
        )

    def test_projections(self) -> None:
        data = np.asarray(self.stack.data)[0]
        np.testing.assert_array_equal(self.stack.field(0, "max"), data.max(1))
        np.testing.assert_allclose(self.stack.field(0, "mean"), data.mean(1))
        np.testing.assert_array_equal(self.stack.field(0, "volume"), data)

    @pytest.mark.parametrize(
        ("t", "z", "message"),
        [
            (2, 0, "time points 0 to 1"),
            (0, 4, "planes 0 to 3"),
            (0, None, "--z"),
            (0, "x", "planes"),
        ],
    )
    def test_a_missing_plane_or_time_point(self, t: int, z: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            self.stack.field(t, z)

    def test_a_wrong_channel_is_named_with_those_that_exist(self) -> None:
        with pytest.raises(InputError, match="no channel 'DNA'; it has a, b, c"):
            self.stack.channel_index("DNA")
