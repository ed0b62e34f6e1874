from __future__ import annotations

import matplotlib as mpl
import numpy as np

from cellcam.reporting import colours
from cellcam.reporting.colours import (
    class_colours,
    difference_picture,
    importance_stops,
    under_importance,
    under_importance_on_card,
)


def test_every_class_has_another_colour() -> None:
    for n in (2, 8, 9, 30):
        assert len(set(class_colours([str(i) for i in range(n)]).values())) == n


def test_without_importance_the_picture_stays_as_it_is() -> None:
    grey = np.random.default_rng(0).random((4, 5, 1)).astype(np.float32)
    nothing = np.zeros((4, 5), np.float32)
    for draw in (under_importance, under_importance_on_card):
        np.testing.assert_allclose(draw(grey, nothing), np.repeat(grey, 3, 2), rtol=1e-6)


def test_the_largest_importance_has_the_last_colour_of_the_colour_map() -> None:
    importance = np.array([[0.0, 3.0]], np.float32)
    picture = under_importance(np.zeros((1, 2, 1), np.float32), importance)
    last = mpl.colormaps[colours.IMPORTANCE_COLORMAP](1.0)[:3]
    np.testing.assert_allclose(picture[0, 1], colours.IMPORTANCE_OPACITY * np.array(last))


def test_importance_goes_from_clear_to_the_last_colour_of_the_colour_map() -> None:
    stops, rgba = importance_stops()
    assert (stops[0], stops[-1]) == (0, 1)
    assert rgba[0, 3] == 0
    assert rgba[-1, 3] == 1
    assert (np.diff(rgba[:, 3]) >= 0).all()
    brightness = rgba[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()  # more is always brighter
    np.testing.assert_allclose(rgba[-1, :3], mpl.colormaps["inferno"](1.0)[:3])


def test_a_difference_is_orange_where_it_speaks_for_and_blue_where_against() -> None:
    difference = np.array([[1.0, -1.0, 0.0]], np.float32)
    picture = difference_picture(np.full((1, 3, 1), 0.5, np.float32), difference)
    assert picture[0, 0, 0] > picture[0, 0, 2]
    assert picture[0, 1, 2] > picture[0, 1, 0]
    np.testing.assert_allclose(picture[0, 2], 0.5)
