"""All colours of results: classes, importance, stains, charts."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's palette, told apart by colour-blind readers; without black.
ORANGE, SKY_BLUE, PURPLE, GREEN = "#E69F00", "#56B4E9", "#CC79A7", "#009E73"
VERMILION, YELLOW, BLUE, GREY = "#D55E00", "#F0E442", "#0072B2", "#999999"
PALETTE = (ORANGE, SKY_BLUE, PURPLE, GREEN, VERMILION, YELLOW, BLUE, GREY)
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
# Importance below this part of the largest is not drawn in the window: the image stays readable.
_CLEAR_TO = 0.08


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for every class: `PALETTE` for up to eight, hues around the circle for more."""
    if len(classes) <= len(PALETTE):
        return dict(zip(classes, PALETTE, strict=False))
    turns = [i / len(classes) for i in range(len(classes))]
    # Neighbours in the list get different brightness as well as different hues.
    rgb = [hsv_to_rgb(turn, 0.65, 1.0 if i % 2 else 0.7) for i, turn in enumerate(turns)]
    hexes = ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in rgb]
    return dict(zip(classes, hexes, strict=True))


def under_importance(
    grey: NDArray[np.float32], importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A grey picture under importance, for reports: more opaque where there is more.

    Parameters
    ----------
    grey : (Y, X, 1) between 0 and 1
    importance : (Y, X), >= 0; scaled to its largest value

    Returns
    -------
    (Y, X, 3)
    """
    import matplotlib as mpl

    strength = np.clip(importance / max(float(importance.max()), 1e-30), 0, 1) ** IMPORTANCE_GAMMA
    opacity = IMPORTANCE_OPACITY * strength[..., None]
    return grey * (1 - opacity) + mpl.colormaps[IMPORTANCE_COLORMAP](strength)[..., :3] * opacity


def under_importance_on_card(
    grey: NDArray[np.float32], importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A grey picture under importance from red to yellow, for the card of a cell.

    Parameters
    ----------
    grey : (Y, X, 1) between 0 and 1
    importance : (Y, X) between 0 and 1

    Returns
    -------
    (Y, X, 3)
    """
    strength = np.clip(importance, 0, 1)[..., None]
    warm = np.concatenate(
        [np.ones_like(strength), strength**1.5, np.full_like(strength, 0.15)], axis=2
    )
    opacity = strength**IMPORTANCE_GAMMA
    return (1 - opacity) * grey + opacity * warm


def class_importance_stops(
    rgb: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour map of a class in the window: from clear through its colour to white.

    Parameters
    ----------
    rgb : (3,) colour of the class, between 0 and 1

    Returns
    -------
    stops (K,) between 0 and 1, and colours (K, 4), RGB and opacity
    """
    stops = np.array([0.0, _CLEAR_TO, 0.6, 1.0])
    opacity = np.array([0.0, 0.0, 0.75, 0.95])
    white = np.array([0.0, 0.0, 0.0, 0.6])[:, None]
    return stops, np.column_stack([(1 - white) * rgb + white, opacity])
