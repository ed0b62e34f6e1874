"""All colours of results: classes, importance, stains, charts."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np
from numpy.typing import NDArray

# Of Okabe and Ito's palette, for charts: told apart by colour-blind readers.
ORANGE, SKY_BLUE, GREEN = "#E69F00", "#56B4E9", "#009E73"
VERMILION, BLUE, GREY = "#D55E00", "#0072B2", "#999999"
# Of classes: told apart by colour-blind readers, on all stains; how they were chosen is in
# docs/decisions/0010. The first classes of a list have the colours that differ most.
PALETTE = (
    *("#CC8800", "#00DDFF", "#99EECC", "#CC5577", "#CC44BB", "#DDEE88", "#DD9988", "#CC88AA"),
    *("#888855", "#FF99DD", "#BB6699", "#BB6622", "#FFBB99", "#88AA55", "#DD8899", "#66FFBB"),
    *("#FF2299", "#88EEFF", "#668833", "#77AA77"),
)
INK = "#1b1f24"

# Cells without a class, or with a class that the model does not have.
UNKNOWN_CLASS = "#ffffff"

# Channels of a composite, in their order: name in captions, and RGB.
CHANNELS = {
    "blue": (0.35, 0.55, 1.0),
    "green": (0.2, 0.85, 0.3),
    "magenta": (1.0, 0.35, 0.8),
    "yellow": (1.0, 0.8, 0.2),
}

# Importance in reports and overviews: matplotlib's name of the colour map.
IMPORTANCE_COLORMAP = "inferno"
# Square roots let faint evidence be seen beside strong evidence.
IMPORTANCE_GAMMA = 0.5
IMPORTANCE_OPACITY = 0.85
# Importance up to this part of the largest is not drawn in the window: the image stays readable;
# this much more hides the image.
_CLEAR_TO, _OPAQUE_AFTER = 0.1, 0.3
# What speaks for a class rather than another, and against it; told apart by colour-blind readers.
FOR, AGAINST = "#FF9A1F", "#3D8BFF"
_STRONG_AFTER = 0.5  # part of the largest difference, from clear to opaque
_DIM = 0.45  # of a cell under a difference
_GOLDEN = 0.618  # turns between hues that are added one by one


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for every class: `PALETTE`, and hues around the circle for what is beyond it.

    A class keeps its colour when others are added behind it.
    """
    n_more = max(0, len(classes) - len(PALETTE))
    # Neighbours in the list get different brightness as well as different hues.
    more = [hsv_to_rgb((i * _GOLDEN) % 1, 0.65, 0.7 + 0.3 * (i % 2)) for i in range(n_more)]
    hexes = ["#" + "".join(f"{round(255 * part):02X}" for part in colour) for colour in more]
    return dict(zip(classes, (*PALETTE, *hexes), strict=False))


def under_importance(
    grey: NDArray[np.float32], importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A grey picture under importance, for reports: more opaque where there is more.

    Parameters
    ----------
    grey : (Y, X, 1) between 0 and 1
    importance : (Y, X), >= 0; scaled to its largest value. Nothing is drawn of an empty map

    Returns
    -------
    (Y, X, 3)
    """
    import matplotlib as mpl

    largest = float(importance.max(initial=0)) or 1.0
    strength = np.clip(importance / largest, 0, 1) ** IMPORTANCE_GAMMA
    opacity = IMPORTANCE_OPACITY * strength[..., None]
    return grey * (1 - opacity) + mpl.colormaps[IMPORTANCE_COLORMAP](strength)[..., :3] * opacity


def importance_stops() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour map of importance in the window: clear, then from red to pale yellow.

    Returns
    -------
    stops (K,) between 0 and 1, and colours (K, 4), RGB and opacity
    """
    import matplotlib as mpl

    stops = np.linspace(0, 1, 33)
    rgba = np.array(mpl.colormaps[IMPORTANCE_COLORMAP](0.25 + 0.75 * stops))
    # Importance below a tenth of the largest would only veil the image.
    rgba[:, 3] = np.clip((stops - _CLEAR_TO) / _OPAQUE_AFTER, 0, 1)
    return stops, rgba


def difference_picture(
    grey: NDArray[np.float32], difference: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A grey picture under what speaks for a class, in orange, and against it, in blue.

    Weak values are not drawn: the eye would see their number, not their sum.

    Parameters
    ----------
    grey : (Y, X, 1) between 0 and 1
    difference : (Y, X) signed, between -1 and 1

    Returns
    -------
    (Y, X, 3)
    """
    colour = np.where(difference[..., None] > 0, _rgb(FOR), _rgb(AGAINST)).astype(np.float32)
    strength = np.abs(difference)[..., None]
    opacity = np.clip((strength - _CLEAR_TO) / _STRONG_AFTER, 0, 1)
    return (grey * (1 - opacity) + colour * opacity).astype(np.float32)


def difference_stops() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour map of differences in the window, with the colours of `difference_picture`.

    Returns
    -------
    stops (K,) between 0 and 1, for differences from -largest to largest; and colours (K, 4), RGB
    and opacity
    """
    strength = np.array([1, _CLEAR_TO + _STRONG_AFTER, _CLEAR_TO])
    opacity = np.array([1.0, 1.0, 0.0])
    against, speaks_for = (np.tile(_rgb(colour), (3, 1)) for colour in (AGAINST, FOR))
    colours = np.concatenate(
        [np.column_stack([against, opacity]), np.column_stack([speaks_for, opacity])[::-1]]
    )
    return np.concatenate([1 - strength, 1 + strength[::-1]]) / 2, colours


def difference_on_cell(
    cell: NDArray[np.float32], difference: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`difference_picture` over a cell (Y, X, 3) in dim grey."""
    return difference_picture(_DIM * cell.mean(axis=2, keepdims=True), difference)


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)
