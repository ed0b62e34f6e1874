"""Ranks of an image among the training images, worked by hand."""

import pytest

from cellcam.models.spec import KnownImages


def images(values: list[float]) -> KnownImages:
    return KnownImages(
        values=tuple(values), fewest_cells=5, false_alarms=0.05, missing_counts=(0.0,)
    )


@pytest.mark.parametrize(
    ("n", "value", "unlike"),
    [
        (18, 99.0, False),  # the farthest of 19 images is 1 in 19, more than 5 %
        (19, 19.5, True),  # 1 of 20
        (19, 19.0, False),  # as far as another: 2 of 20
        (19, 3.0, False),
        (38, 38.0, False),  # 2 of 39
        (39, 39.0, True),  # 2 of 40
        (39, 38.0, False),
        (100, 96.5, True),  # 5 of 101
        (100, 95.5, False),  # 6 of 101
    ],
)
def test_an_image_is_unlike_if_it_is_in_the_farthest_twentieth(
    n: int, value: float, unlike: bool
) -> None:
    assert images([float(i) for i in range(1, n + 1)]).is_unlike(value) == unlike


@pytest.mark.parametrize("n", [19, 20, 39, 56, 100])
def test_at_most_one_in_twenty_images_of_the_same_kind_is_unlike(n: int) -> None:
    # Of n + 1 images, all but one for the training, each is the odd one out once.
    values = [float(i) for i in range(n + 1)]
    warned = [images([v for v in values if v != odd]).is_unlike(odd) for odd in values]
    assert 0 < sum(warned) <= 0.05 * (n + 1)
