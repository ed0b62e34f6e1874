from __future__ import annotations

from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from cellcam.reporting import colours
from cellcam.reporting.colours import (
    class_colours,
    difference_picture,
    importance_stops,
    under_importance,
)

# Machado, Oliveira and Fernandes 2009, complete dichromats, on linear RGB.
DICHROMATS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}
# The palette of classes was chosen for the frequent kinds. Tritanopia is far rarer; importance and
# differences are readable with it, too.
FREQUENT = ("normal", "deuteranopia", "protanopia")
# Stains of the window and of reports at full and half brightness, white, grey, black.
STAINS = np.array(
    [*colours.CHANNELS.values(), (1, 0, 1), (0, 1, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0, 0, 0)]
)


def as_rgb(hexes: list[str]) -> np.ndarray:
    return np.array([[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in hexes])


def as_seen(rgb: np.ndarray, reader: str) -> np.ndarray:
    """Colours (N, 3) in CIELAB, as a reader sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ DICHROMATS[reader].T, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


def smallest_distance(hexes: list[str], reader: str) -> float:
    """Smallest CIEDE2000 distance of all pairs."""
    seen = as_seen(as_rgb(hexes), reader)
    return min(float(deltaE_ciede2000(a, b)) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("reader", FREQUENT)
@pytest.mark.parametrize(("n", "least"), [(2, 40), (5, 16), (8, 14), (12, 8.9), (16, 7), (20, 5)])
def test_classes_are_told_apart_by_every_reader(n: int, least: float, reader: str) -> None:
    # Okabe and Ito's eight, which were used before, come as near as 6.2.
    hexes = list(class_colours([str(i) for i in range(n)]).values())
    assert smallest_distance(hexes, reader) >= least


@pytest.mark.parametrize("reader", FREQUENT)
def test_classes_are_told_apart_from_the_stains_below_them(reader: str) -> None:
    stains = as_seen(STAINS, reader)
    for colour in as_seen(as_rgb(list(colours.PALETTE)), reader):
        assert min(float(deltaE_ciede2000(colour, stain)) for stain in stains) >= 7


@pytest.mark.parametrize("reader", DICHROMATS)
def test_more_importance_is_lighter_for_every_reader(reader: str) -> None:
    """Of the window's map, from clear to opaque over the image, and of the reports' map."""
    stops, rgba = importance_stops()
    window = rgba[stops >= 0.4, :3]
    reports = mpl.colormaps[colours.IMPORTANCE_COLORMAP](np.linspace(0, 1, 33))[:, :3]
    for ramp in (window, reports):
        lightness = as_seen(ramp, reader)[:, 0]
        assert (np.diff(lightness) > 0).all()
        assert lightness[-1] - lightness[0] > 40


@pytest.mark.parametrize("reader", DICHROMATS)
def test_importance_stands_out_from_the_grey_image_for_every_reader(reader: str) -> None:
    """A step of a fifth of the largest importance is seen on dark, middle and bright grey."""
    for grey in (0.1, 0.5, 0.9):
        strengths = np.linspace(0, 1, 6)[None].astype(np.float32)
        picture = under_importance(np.full((1, 6, 1), grey, np.float32), strengths)[0]
        seen = as_seen(picture, reader)
        steps = [float(deltaE_ciede2000(a, b)) for a, b in pairwise(seen)]
        assert min(steps) >= 4.5, (grey, steps)


@pytest.mark.parametrize("reader", DICHROMATS)
def test_for_and_against_are_told_apart_by_every_reader(reader: str) -> None:
    assert smallest_distance([colours.FOR, colours.AGAINST, "#333333"], reader) >= 30


def test_every_class_has_another_colour_and_keeps_it() -> None:
    names = [str(i) for i in range(40)]
    for n in (2, 8, 9, 20, 21, 40):
        found = class_colours(names[:n])
        assert len(set(found.values())) == n
        assert found == dict(list(class_colours(names).items())[:n])


def test_without_importance_the_picture_stays_as_it_is() -> None:
    grey = np.random.default_rng(0).random((4, 5, 1)).astype(np.float32)
    nothing = np.zeros((4, 5), np.float32)
    for draw in (under_importance, difference_picture):
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
