"""Appearance of results, fresh or from a file: colours of cells and maps, features of cells.

The colours themselves are in `cellcam.reporting.colours`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cellcam.reporting.colours import UNKNOWN_CLASS, difference_stops, importance_stops

if TYPE_CHECKING:
    import pandas as pd
    from napari.utils import Colormap, DirectLabelColormap
    from numpy.typing import ArrayLike, NDArray

Pixel = TypeVar("Pixel", bound=np.generic)

_FEATURES = ("label", "class", "probability", "margin", "flags")
# Pixels. napari draws a whole plane at once, in the GUI thread; of a pyramid only the part in view.
_LARGEST_PLANE = 2**20


def pyramid_if_large(image: NDArray[Pixel]) -> NDArray[Pixel] | list[NDArray[Pixel]]:
    """A pyramid of an image (..., Y, X) with large planes, or the image itself.

    Each level is a view of every second pixel of the level before.
    """
    levels = [image]
    while levels[-1].shape[-2] * levels[-1].shape[-1] > _LARGEST_PLANE:
        levels.append(levels[-1][..., ::2, ::2])
    return levels if len(levels) > 1 else image


def cell_colormap(calls: Mapping[int, str], colours: Mapping[str, str]) -> DirectLabelColormap:
    """Colour of each label by its class; white for unknown labels and classes.

    Parameters
    ----------
    calls : class of each label
    colours : colour of each class
    """
    from napari.utils import DirectLabelColormap

    drawn: dict[int | None, str] = {None: UNKNOWN_CLASS, 0: "transparent"}
    drawn |= {label: colours.get(name, UNKNOWN_CLASS) for label, name in calls.items()}
    return DirectLabelColormap(color_dict=drawn)


def features_by_label(table: pd.DataFrame, labels: ArrayLike) -> pd.DataFrame:
    """Features of a labels layer, where row i describes label i, as napari reads them.

    Parameters
    ----------
    table : cell table
    labels : label of each row of the table, all different
    """
    numbers = np.asarray(labels, int)
    features = table[[name for name in _FEATURES if name in table]].set_axis(numbers)
    dense = features.reindex(range(numbers.max(initial=0) + 1))
    dense.insert(0, "index", dense.index)
    return dense


def importance_colormap() -> Colormap:
    """Colour map of importance: transparent where there is none, then from red to yellow."""
    from napari.utils import Colormap

    stops, rgba = importance_stops()
    return Colormap(rgba, controls=stops, name="importance")


def difference_colormap() -> Colormap:
    """Colour map of differences: blue against, transparent about 0, orange for."""
    from napari.utils import Colormap

    stops, rgba = difference_stops()
    return Colormap(rgba, controls=stops, name="difference")
