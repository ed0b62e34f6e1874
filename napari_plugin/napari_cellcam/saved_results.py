"""Results that ``cellcam explain`` wrote, as layers that look like fresh ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.reporting.colours import IMPORTANCE_GAMMA, UNKNOWN_CLASS, class_colours
from cellcam.stacks.stack import Stack
from napari_cellcam.drawing import cell_colours, clear_colormap, dense_features
from napari_cellcam.layers import LayerData, channel_pixels, place_of_stack

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd

# Planes of a class that are read for the common scale, at most.
_PLANES_LOOKED_AT = 16
# Above it napari needs numba to draw labels in given colours.
_LARGEST_COLOURED = 2**16


def holds_maps(stack: Stack) -> bool:
    """Whether a file is named like the importance maps of a run, and can be that."""
    return _is_named(stack, "maps") and stack.data.dtype.kind == "f"


def holds_cells(stack: Stack) -> bool:
    """Whether a file is named like the label image of a run, and can be that."""
    return _is_named(stack, "labels") and len(stack.channels) == 1 and stack.data.dtype.kind in "ui"


def importance_layers(stack: Stack) -> list[LayerData]:
    """One importance layer for each class of ``NAME.maps.ome.tif``, all on one scale.

    The scale ends at the largest importance in up to 16 planes of each class, spread over time
    points and z. Layers in which these planes hold none are there, but hidden.
    """
    table = _cells_beside(stack)
    colours = class_colours(_classes(table) or stack.channels)
    # The window knows a result by its model, which the maps alone do not name.
    about = {"image": _name(stack), "path": str(stack.path), "model": _model(table)}
    images = [channel_pixels(stack, index) for index in range(len(stack.channels))]
    largest = [_largest(image) for image in images]
    place = place_of_stack(stack)
    return [
        (
            image,
            {
                "name": f"evidence for {name}",
                "colormap": clear_colormap(colours.get(name, UNKNOWN_CLASS)),
                "contrast_limits": (0, max(largest) or 1.0),
                "gamma": IMPORTANCE_GAMMA,
                "blending": "translucent_no_depth",
                "visible": has_some > 0 or len(images) == 1,
                "metadata": {"cellcam": {**about, "class": name, "unit": "importance"}},
                **place,
            },
            "image",
        )
        for name, image, has_some in zip(stack.channels, images, largest, strict=True)
    ]


def cell_layers(stack: Stack) -> list[LayerData]:
    """The cells of ``NAME.labels.ome.tif``, coloured by class where the table beside it is found.

    Labels may come again on other planes and time points. The features are shown only where each
    label is one cell; the colours also where all cells with one label are of one class. Otherwise
    napari colours the labels by number, as it does for labels above 65536. They are offered as
    cells to classify like any labels.
    """
    drawn: dict[str, Any] = {
        "name": f"{_name(stack)} cells",
        "opacity": 0.4,
        "metadata": {"cellcam": {"image": _name(stack), "path": str(stack.path)}},
        **place_of_stack(stack),
    }
    table = _cells_beside(stack)
    if table is not None:
        drawn |= _drawn_by_class(table)
    return [(channel_pixels(stack, 0), drawn, "labels")]


def _drawn_by_class(table: pd.DataFrame) -> dict[str, Any]:
    """Features and colours of labels, as far as the table says them without doubt."""
    drawn: dict[str, Any] = {}
    if table["label"].max() > _LARGEST_COLOURED:
        warnings.warn(
            f"There are labels above {_LARGEST_COLOURED}: the cells are shown without class.",
            stacklevel=2,
        )
        return drawn
    if table["label"].is_unique:
        drawn["features"] = dense_features(table, table["label"])
    calls = table[["label", "class"]].drop_duplicates()
    if calls["label"].is_unique:
        called = dict(zip(calls["label"].astype(int), calls["class"], strict=True))
        drawn["colormap"] = cell_colours(called, class_colours(_classes(table)))
    return drawn


def _cells_beside(stack: Stack) -> pd.DataFrame | None:
    """The cell table that was written with the image, if it lies beside it and can be read."""
    import pandas as pd

    assert stack.path is not None
    path = stack.path.with_name(f"{_name(stack)}.cells")
    try:
        if (parquet := Path(f"{path}.parquet")).is_file():
            table = pd.read_parquet(parquet)
        elif (csv := Path(f"{path}.csv")).is_file():
            # A class may be called NA.
            table = pd.read_csv(csv, keep_default_na=False, dtype={"class": str, "flags": str})
        else:
            return None
        return table.astype({"label": int, "class": str})
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"{path} is no cell table, and is left out: {error}", stacklevel=2)
        return None


def _classes(table: pd.DataFrame | None) -> list[str]:
    """All classes of the model in its order, so that they get the colours they have elsewhere."""
    if table is None:
        return []
    stated = [str(name)[2:] for name in table.columns if str(name).startswith("p_")]
    return stated or sorted(table["class"].unique())


def _model(table: pd.DataFrame | None) -> str:
    if table is None or "model" not in table or table.empty:
        return "unknown"
    return str(table["model"].iloc[0])


def _is_named(stack: Stack, kind: str) -> bool:
    endings = (f".{kind}.ome.tif", f".{kind}.ome.tiff", f".{kind}.ome.zarr")
    return stack.path is not None and stack.path.name.lower().endswith(endings)


def _name(stack: Stack) -> str:
    """Of the image that the results belong to."""
    return stack.name.rpartition(".")[0]


def _largest(image: da.Array) -> float:
    """Largest importance in some planes of one class."""
    planes = image.reshape(-1, *image.shape[-2:])
    chosen = np.linspace(0, len(planes) - 1, min(len(planes), _PLANES_LOOKED_AT)).round()
    return float(planes[chosen.astype(int)].max().compute())
