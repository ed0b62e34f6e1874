"""Reader for cells of other programs: QuPath, ImageJ, StarDist, COCO, Cellpose, as a labels layer.

Outlines are in pixels of an image: that of the selected layer, else of the topmost image layer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellcam.errors import InputError
from napari_cellcam.layers.appearance import cell_colormap, features_by_label
from napari_cellcam.layers.channel_sources import layer_shape
from napari_cellcam.layers.stack_from_layers import layer_axes, layer_placement
from napari_cellcam.layers.stack_layers import LayerData, Placement

if TYPE_CHECKING:
    from napari.layers import Image

    from cellcam.exchange.cells import Cells
    from cellcam.stacks.stack import Stack

Reader = Callable[[str | list[str]], Sequence[LayerData]]

# What marks a COCO file is looked for in its first and last bytes.
_LOOKED_AT = 2**16
# For larger labels napari needs numba to draw given colours.
_LARGEST_COLOURED = 2**16


class _Ground(NamedTuple):
    """The image that cells lie on.

    Attributes
    ----------
    stack : its name and shape; its pixels are not read
    placement : of a layer with these axes of TZYX
    """

    stack: Stack
    placement: Callable[[str], Placement]


def get_reader(path: str | list[str]) -> Reader | None:
    """Reader for one file of cells; None for several, and for other files of these endings."""
    if isinstance(path, list) or not _holds_cells(Path(path)):
        return None
    return read_layers


def read_layers(path: str | list[str]) -> Sequence[LayerData]:
    """A labels layer, in the colours of the cells' classes where the file states classes."""
    from napari.utils.notifications import show_info

    from napari_cellcam.work.waiting import without_freezing

    file = Path(str(path))
    layer, notes = without_freezing(partial(_read, file, _image_in_view()))
    for note in notes:
        show_info(note)
    return [layer]


def _holds_cells(path: Path) -> bool:
    """Whether a file with an ending that others use, too, is one of cells."""
    ending = path.suffix.lower()
    try:
        if ending == ".zip":
            with zipfile.ZipFile(path) as archive:
                return any(name.lower().endswith(".roi") for name in archive.namelist())
        if ending == ".json":
            with open(path, "rb") as file:
                begin = file.read(_LOOKED_AT)
                file.seek(max(0, path.stat().st_size - _LOOKED_AT))
                return b'"annotations"' in begin + file.read()
    except (OSError, zipfile.BadZipFile):
        return False
    return True


def _image_in_view() -> Image | None:
    """The selected image layer, else the topmost; it must be asked for in the GUI thread."""
    from napari import current_viewer
    from napari.layers import Image

    viewer = current_viewer()
    if viewer is None:
        return None
    layers = [*viewer.layers, viewer.layers.selection.active]
    return next((layer for layer in reversed(layers) if isinstance(layer, Image)), None)


def _read(path: Path, image: Image | None) -> tuple[LayerData, list[str]]:
    from cellcam.exchange.labels import cells_in, open_labels

    ground = _ground_in(path) if image is None else _ground_of(image)
    opened = open_labels(path, ground.stack)
    pixels = np.asarray(opened.labels.loaded().data)
    kept = "".join(a for a, n in zip("TCZYX", pixels.shape, strict=True) if n > 1 or a in "YX")
    index = tuple(slice(None) if axis in kept else 0 for axis in "TCZYX")
    attributes: dict[str, object] = {
        "name": f"{path.name} on {ground.stack.name}" if image is not None else path.name,
        "opacity": 0.4,
        "metadata": {"cellcam": {"path": str(path)}},
        **ground.placement(kept),
    }
    notes = list(opened.notes)
    if image is None:
        notes.append(
            f"{path.name} was opened without its image: open the image first, and the cells get "
            "its scale and are checked against its size."
        )
    cells = cells_in(path, ground.stack)
    return (np.array(pixels[index]), attributes | _classes(cells), "labels"), notes


def _ground_of(image: Image) -> _Ground:
    """Name, shape and place of an image layer."""
    axes = layer_axes(image)
    if not axes:
        raise InputError(
            f"The {image.ndim} axes of {image.name} are unknown. Name them with the button Image "
            "facts... of the dock Classify and explain cells, and open the cells again."
        )
    lengths = dict(zip(axes, layer_shape(image), strict=True))
    return _Ground(_empty(lengths, image.name), partial(layer_placement, image, axes))


def _ground_in(path: Path) -> _Ground:
    """Shape of the image as a file of cells states it, else as large as the cells need."""
    from cellcam.exchange.labels import shape_in

    lengths = dict(zip("TZYX", shape_in(path), strict=True))
    return _Ground(_empty(lengths, path.name), _in_pixels)


def _in_pixels(kept: str) -> Placement:
    return {"units": ["pixel"] * len(kept), "axis_labels": [axis.lower() for axis in kept]}


def _empty(lengths: dict[str, int], name: str) -> Stack:
    import dask.array as da

    from cellcam.stacks.stack import Stack

    shape = tuple(lengths.get(axis, 1) for axis in "TCZYX")
    return Stack(da.zeros(shape, np.uint8), ("image",), name=name)


def _classes(cells: Cells | None) -> dict[str, object]:
    """Features and colours of cells with classes, if no two of them share a label."""
    import pandas as pd

    from cellcam.reporting.colours import class_colours

    if cells is None or not any(cells.classes) or len(set(cells.numbers.tolist())) < len(cells):
        return {}
    if cells.numbers.max() > _LARGEST_COLOURED:
        return {}
    table = pd.DataFrame({**cells.measurements, "label": cells.numbers, "class": cells.classes})
    names = sorted(set(cells.classes) - {""})
    colours = {**class_colours(names), **cells.colours}
    calls = dict(zip(cells.numbers.tolist(), cells.classes, strict=True))
    return {
        "features": features_by_label(table, cells.numbers),
        "colormap": cell_colormap(calls, colours),
    }
