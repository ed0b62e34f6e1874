"""One image of a batch with its results, as layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellcam.errors import InputError
from napari_cellcam.layers import LayerData, stack_layers


@dataclass(frozen=True)
class Opened:
    """What was read.

    Attributes
    ----------
    layers : channels of the image, its cells, one importance layer for each class
    told : what there is, for people
    """

    layers: list[LayerData]
    told: str


def read_results(file: Path, out: Path, name: str, _: Any = None) -> Opened:
    """Read an image of a batch, lazily, and what the batch wrote about it.

    Parameters
    ----------
    file : the image
    out, name : folder of the results, and the image's name there
    """
    from cellcam import open_stack
    from napari_cellcam.saved_results import cell_layers, importance_layers

    told = f"{name} with its cells and the evidence for their classes."
    layers: list[LayerData] = []
    try:
        layers += stack_layers(open_stack(file))
    except InputError as error:  # it may need options that only the command was given
        told = f"The results of {name}, without the image: {error}"
    for kind, read in (("labels", cell_layers), ("maps", importance_layers)):
        for ending in ("tif", "zarr"):
            path = out / "images" / f"{name}.{kind}.ome.{ending}"
            if path.exists():
                layers += read(open_stack(path))
    if not layers:
        raise InputError(f"There are no results of {name} in {out}. Start the folder again.")
    return Opened(layers, told)
