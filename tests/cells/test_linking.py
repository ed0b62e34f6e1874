"""Cells over planes: against a plain search over all pairs, and by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellcam.cells.linking import link_planes

# Few labels on few pixels: ties, equal labels and missing planes are common.
stacks = st.integers(1, 4).flatmap(
    lambda n: arrays.arrays(np.int32, (n, 4, 5), elements=st.integers(0, 4))
)


def brute_force(planes: np.ndarray) -> list[dict[int, int]]:
    """The rule, pair by pair, in whole numbers."""
    cells = [
        {
            int(label): {tuple(place) for place in np.argwhere(plane == label).tolist()}
            for label in sorted(set(plane.ravel().tolist()) - {0})
        }
        for plane in planes
    ]

    def match(one: set, other: set) -> Fraction:
        return Fraction(len(one & other), len(one | other))

    def best(cell: set, others: dict[int, set]) -> int | None:
        touching = [name for name in others if cell & others[name]]
        return min(touching, key=lambda name: (-match(cell, others[name]), name), default=None)

    numbers: list[dict[int, int]] = []
    n = 0
    for z, plane in enumerate(cells):
        here = {}
        for label, cell in plane.items():
            below = cells[z - 1] if z else {}
            other = best(cell, below)
            is_same = (
                other is not None
                and best(below[other], plane) == label
                and 2 * len(cell & below[other]) >= min(len(cell), len(below[other]))
            )
            if is_same:
                here[label] = numbers[-1][other]
            else:
                n += 1
                here[label] = n
        numbers.append(here)
    return numbers


@given(stacks)
def test_cells_are_linked_as_by_a_search_over_all_pairs(planes: np.ndarray) -> None:
    assert link_planes(list(planes)) == brute_force(planes)


@given(stacks)
def test_a_number_has_one_cell_on_each_of_successive_planes(planes: np.ndarray) -> None:
    numbers = link_planes(list(planes))
    planes_of: dict[int, list[int]] = {}
    for z, here in enumerate(numbers):
        for number in here.values():
            planes_of.setdefault(number, []).append(z)
    assert sorted(planes_of) == list(range(1, len(planes_of) + 1))
    for zs in planes_of.values():
        assert zs == list(range(zs[0], zs[0] + len(zs)))


@given(stacks, st.permutations([1, 2, 3, 4]))
def test_which_cells_are_linked_does_not_depend_on_labels(
    planes: np.ndarray, names: list[int]
) -> None:
    """Where there are no ties, see below."""
    changed = planes.copy()
    changed[-1] = np.array([0, *names], np.int32)[planes[-1]]
    before, after = link_planes(list(planes)), link_planes(list(changed))
    if len(planes) == 1:
        return
    linked = set(before[-2].values())
    fractions = _matches(planes[-2], planes[-1])
    if len(set(fractions)) == len(fractions):
        for label, number in before[-1].items():
            new = after[-1][names[label - 1]]
            assert (new == number) if number in linked else (new not in linked)


def _matches(below: np.ndarray, above: np.ndarray) -> list[Fraction]:
    pairs = [
        (a, b) for a in range(1, 5) for b in range(1, 5) if ((below == a) & (above == b)).any()
    ]
    return [
        Fraction(int(((below == a) & (above == b)).sum()), int(((below == a) | (above == b)).sum()))
        for a, b in pairs
    ]


def row(*labels: int) -> np.ndarray:
    return np.array([labels], np.int32)


def test_a_cell_that_moves_and_shrinks_keeps_its_number() -> None:
    planes = [row(7, 7, 7, 7, 7, 7, 0), row(0, 2, 2, 2, 0, 0, 0), row(0, 0, 9, 0, 0, 0, 0)]
    assert link_planes(planes) == [{7: 1}, {2: 1}, {9: 1}]


def test_equal_labels_beside_each_other_are_different_cells() -> None:
    assert link_planes([row(3, 3, 0, 0), row(0, 0, 3, 3)]) == [{3: 1}, {3: 2}]


def test_a_cell_that_is_missing_on_a_plane_begins_again() -> None:
    assert link_planes([row(1, 1), row(0, 0), row(1, 1)]) == [{1: 1}, {}, {1: 2}]


def test_a_cell_in_two_pieces_goes_on_in_the_larger() -> None:
    assert link_planes([row(1, 1, 1, 1, 1), row(5, 5, 0, 4, 0)]) == [{1: 1}, {4: 2, 5: 1}]
    # Of two pieces of one size, in that with the smaller label.
    assert link_planes([row(1, 1, 1, 1, 1), row(5, 5, 0, 4, 4)]) == [{1: 1}, {4: 1, 5: 2}]


def test_a_cell_that_lies_over_another_by_less_than_half_is_another() -> None:
    assert link_planes([row(1, 1, 1, 1, 0, 0, 0), row(0, 0, 0, 1, 1, 1, 0)]) == [{1: 1}, {1: 2}]


def test_the_largest_labels_are_told_apart() -> None:
    big = 2**31 - 1
    assert link_planes([row(big, big, 1), row(1, 1, big)]) == [{1: 1, big: 2}, {1: 2, big: 1}]
