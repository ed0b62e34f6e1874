"""Result files of ``cellcam explain`` as layers that look like fresh results."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.reporting.colours import IMPORTANCE_GAMMA, class_colours
from cellcam.stacks.stack import Stack
from napari_cellcam.layers.appearance import cell_colormap, features_by_label, importance_colormap
from napari_cellcam.layers.stack_layers import (
    CellCamMetadata,
    LayerData,
    channel_pixels,
    stack_placement,
)

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd

# Planes of each class that are read for the common scale, at most.
_PLANES_MEASURED = 16
# For larger labels napari needs numba to draw given colours.
_LARGEST_COLOURED = 2**16


def holds_maps(stack: Stack) -> bool:
    """Whether a file has the name and pixel type of importance maps."""
    return _is_named(stack, "maps") and stack.data.dtype.kind == "f"


def holds_cells(stack: Stack) -> bool:
    """Whether a file has the name and pixel type of a label image."""
    return _is_named(stack, "labels") and len(stack.channels) == 1 and stack.data.dtype.kind in "ui"


def importance_layers(stack: Stack) -> list[LayerData]:
    """One importance layer for each class of ``NAME.maps.ome.tif``, all on one scale.

    The scale ends at the largest importance in up to 16 planes of each class, spread over time
    points and z. The class with the largest importance is shown, the others are hidden: on top of
    each other they could not be told apart.
    """
    table = _cells_beside(stack)
    # `is_result` looks for the model, which only the table names.
    metadata: CellCamMetadata = {
        "image": _name(stack),
        "path": str(stack.path),
        "model": _model(table),
    }
    images = [channel_pixels(stack, index) for index in range(len(stack.channels))]
    largest = [_largest(image) for image in images]
    placement = stack_placement(stack)
    return [
        (
            image,
            {
                "name": f"evidence for {name}",
                "colormap": importance_colormap(),
                "contrast_limits": (0, max(largest) or 1.0),
                "gamma": IMPORTANCE_GAMMA,
                "blending": "translucent_no_depth",
                "visible": index == largest.index(max(largest)),
                "metadata": {"cellcam": {**metadata, "class": name, "unit": "importance"}},
                **placement,
            },
            "image",
        )
        for index, (name, image) in enumerate(zip(stack.channels, images, strict=True))
    ]


def cell_layers(stack: Stack) -> list[LayerData]:
    """The cells of ``NAME.labels.ome.tif``, coloured by class if the table lies beside it.

    Several cells, on other planes or time points, may share a label. There are features if no two
    cells share one, and class colours if all cells that share one have the same class. Otherwise,
    and for labels above 65536, napari colours by label. The layer can be classified again like
    any labels layer.
    """
    attributes: dict[str, object] = {
        "name": f"{_name(stack)} cells",
        "opacity": 0.4,
        "metadata": {"cellcam": {"image": _name(stack), "path": str(stack.path)}},
        **stack_placement(stack),
    }
    table = _cells_beside(stack)
    if table is not None:
        attributes |= _class_attributes(table)
    return [(channel_pixels(stack, 0), attributes, "labels")]


def _class_attributes(table: pd.DataFrame) -> dict[str, object]:
    """Features and colours of labels, as far as the table is unambiguous."""
    attributes: dict[str, object] = {}
    if table["label"].max() > _LARGEST_COLOURED:
        warnings.warn(
            f"There are labels above {_LARGEST_COLOURED}: the cells are shown without class.",
            stacklevel=2,
        )
        return attributes
    if table["label"].is_unique:
        attributes["features"] = features_by_label(table, table["label"])
    calls = table[["label", "class"]].drop_duplicates()
    if calls["label"].is_unique:
        classes = dict(zip(calls["label"].astype(int), calls["class"], strict=True))
        attributes["colormap"] = cell_colormap(classes, class_colours(_classes(table)))
    return attributes


def _cells_beside(stack: Stack) -> pd.DataFrame | None:
    """The cell table beside a label image or map, if it is there and can be read."""
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
        return table.fillna({"class": ""}).astype({"label": int, "class": str})
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"{path} is no cell table, and is left out: {error}", stacklevel=2)
        return None


def _classes(table: pd.DataFrame | None) -> list[str]:
    """All classes of the model in its order, which decides their colours."""
    if table is None:
        return []
    in_columns = [str(name)[2:] for name in table.columns if str(name).startswith("p_")]
    return in_columns or sorted(set(table["class"]) - {""})


def _model(table: pd.DataFrame | None) -> str:
    if table is None or "model" not in table or table.empty:
        return "unknown"
    return str(table["model"].iloc[0])


def _is_named(stack: Stack, kind: str) -> bool:
    endings = (f".{kind}.ome.tif", f".{kind}.ome.tiff", f".{kind}.ome.zarr")
    return stack.path is not None and stack.path.name.lower().endswith(endings)


def _name(stack: Stack) -> str:
    """Name of the image that the results belong to."""
    return stack.name.rpartition(".")[0]


def _largest(image: da.Array) -> float:
    """Largest importance of one class, in up to 16 planes."""
    planes = image.reshape(-1, *image.shape[-2:])
    chosen = np.linspace(0, len(planes) - 1, min(len(planes), _PLANES_MEASURED)).round()
    return float(planes[chosen.astype(int)].max().compute())
