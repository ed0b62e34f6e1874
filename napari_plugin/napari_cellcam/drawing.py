"""How results look, fresh or from a file: colours of classes, and what napari knows of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.reporting.colours import UNKNOWN_CLASS, class_importance_stops

if TYPE_CHECKING:
    import pandas as pd
    from napari.utils import Colormap, DirectLabelColormap
    from numpy.typing import ArrayLike, NDArray

_FEATURES = ("label", "class", "probability", "margin", "flags")
# napari draws a whole plane at once, in the GUI thread: larger ones come as pyramids, of which it
# draws what is seen.
_LARGEST_PLANE = 2**20


def drawable(image: NDArray[Any]) -> NDArray[Any] | list[NDArray[Any]]:
    """An image as napari draws it without delay: a pyramid where its planes (..., Y, X) are large.

    The levels are every second pixel of those before, and share their memory.
    """
    levels = [image]
    while levels[-1].shape[-2] * levels[-1].shape[-1] > _LARGEST_PLANE:
        levels.append(levels[-1][..., ::2, ::2])
    return levels if len(levels) > 1 else image


def cell_colours(calls: Mapping[int, str], colours: Mapping[str, str]) -> DirectLabelColormap:
    """Each cell in the colour of its class; white where class or cell is unknown.

    Parameters
    ----------
    calls : class of each label
    colours : of the classes
    """
    from napari.utils import DirectLabelColormap

    drawn: dict[int | None, Any] = {None: UNKNOWN_CLASS, 0: "transparent"}
    drawn |= {label: colours.get(name, UNKNOWN_CLASS) for label, name in calls.items()}
    return DirectLabelColormap(color_dict=drawn)


def dense_features(table: pd.DataFrame, labels: ArrayLike) -> pd.DataFrame:
    """One row for each label from 0: napari looks a label's row up by its number.

    Parameters
    ----------
    table : cell table
    labels : label of each row, each once
    """
    numbers = np.asarray(labels, int)
    features = table[[name for name in _FEATURES if name in table]].set_axis(numbers)
    dense = features.reindex(range(numbers.max(initial=0) + 1))
    dense.insert(0, "index", dense.index)
    return dense


def clear_colormap(colour: str) -> Colormap:
    """From clear through the class's colour to white; what is not important is not covered."""
    from napari.utils import Colormap
    from napari.utils.colormaps.standardize_color import transform_color

    stops, rgba = class_importance_stops(transform_color(colour)[0][:3])
    return Colormap(rgba, controls=stops, name=f"clear to {colour}")
