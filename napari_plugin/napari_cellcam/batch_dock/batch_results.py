"""One image of a batch with its results, as layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from napari_cellcam.layers.stack_layers import LayerData, stack_layers

if TYPE_CHECKING:
    from cellcam.progress import Progress

# What is shown of an image, by the kinds of results that are there.
_WITH = {
    ("labels", "maps"): "with its cells and the evidence for their classes.",
    ("labels",): "with its cells. None of them was explained: there are no maps.",
    ("maps",): "with the evidence for the classes of its cells, whose outlines are not there.",
    (): "without results.",
}


@dataclass(frozen=True)
class OpenedImage:
    """Layers of an image and its results.

    Attributes
    ----------
    layers : channels of the image, its cells, one importance layer for each class
    message : for the user: what is shown, and what could not be read
    """

    layers: list[LayerData]
    message: str


def read_results(file: Path, out: Path, name: str, _: Progress | None = None) -> OpenedImage:
    """Read an image of a batch, lazily, and its results.

    Parameters
    ----------
    file : the image
    out, name : folder of the results, and the image's name there

    Raises
    ------
    InputError
        If neither the image nor a result can be read.
    """
    from cellcam import open_stack
    from napari_cellcam.files.saved_results import cell_layers, importance_layers

    message, found = "", []
    layers: list[LayerData] = []
    try:
        layers += stack_layers(open_stack(file))
    except InputError as error:  # it may need options that the command had
        message = f" Without the image: {error}"
    for kind, read in (("labels", cell_layers), ("maps", importance_layers)):
        for ending in ("tif", "zarr"):
            path = out / "images" / f"{name}.{kind}.ome.{ending}"
            if path.exists():
                layers += read(open_stack(path))
                found.append(kind)
    if not layers:
        raise InputError(f"There are no results of {name} in {out}. Start the folder again.")
    return OpenedImage(layers, f"{name} {_WITH[tuple(found)]}{message}")
