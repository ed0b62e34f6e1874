"""Reader for TIFF stacks and CellCam's results: napari's reader drops channels, scale and units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from napari_cellcam.layers.stack_layers import FileFacts, LayerData, stack_layers

if TYPE_CHECKING:
    from napari.utils.events import Event

    from cellcam.stacks.image_file import UnstatedFactError
    from cellcam.stacks.stack import Stack

Reader = Callable[[str | list[str]], Sequence[LayerData | tuple[None]]]

# Stacks up to this size are read whole when they are opened: their layers never wait for a file.
_READ_WHOLE = 2**26
# What napari takes for a file without layers.
_NOTHING: list[LayerData | tuple[None]] = [(None,)]


def get_reader(path: str | list[str]) -> Reader | None:
    """Reader for one image file; None for several files at once, which napari stacks itself."""
    if isinstance(path, list):
        return None
    return read_layers


def read_layers(path: str | list[str]) -> Sequence[LayerData | tuple[None]]:
    """Layers of a file; in a window, facts that the file does not state are asked for."""
    from cellcam.stacks.image_file import UnstatedFactError
    from napari_cellcam.work.waiting import in_gui

    file = str(path)
    try:
        layers = _opened_or_asked(file, FileFacts())
    except UnstatedFactError as error:
        if not in_gui():
            raise
        return _read_with_asked_facts(file, error)
    return _drawn_one_by_one(layers) if layers else _NOTHING


def _opened_or_asked(file: str, given: FileFacts) -> list[LayerData]:
    """Layers of a file; where parts of it are missing, if the user wants the others.

    Returns
    -------
    no layers where the user does not
    """
    from qtpy.QtWidgets import QMessageBox

    from cellcam.stacks.missing_pixels import MissingPixelsError
    from napari_cellcam.work.waiting import in_gui, without_freezing

    try:
        return without_freezing(partial(_opened, file, given))
    except MissingPixelsError as error:
        if not in_gui():
            raise
        question = f"{error}\n\nOpen it, with what is missing as no data?"
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    if QMessageBox.question(None, "Parts of the image are missing", question, yes | no) != yes:
        return []
    return without_freezing(partial(_opened, file, given._replace(tolerate_missing=True)))


def _read_with_asked_facts(
    file: str, error: UnstatedFactError
) -> Sequence[LayerData | tuple[None]]:
    """Ask until the file can be opened, or the user gives up."""
    from napari.utils.notifications import show_info

    from cellcam.errors import InputError
    from napari_cellcam.widgets.facts_dialog import FileFactsDialog

    dialog = FileFactsDialog(file, error.images)
    while dialog.exec():
        series, facts = dialog.answer()
        y, x = facts.pixel_size_um
        given = FileFacts(
            facts.axes or None,
            facts.channels or None,
            series,
            (facts.z_step_um, y, x),
            facts.time_step_s,
        )
        try:
            layers = _opened_or_asked(file, given)
        except InputError as problem:
            dialog.show_problem(str(problem))
        else:
            return _drawn_one_by_one(layers) if layers else _NOTHING
    show_info(f"{file} was not opened.")
    return _NOTHING


def _opened(file: str, given: FileFacts) -> list[LayerData]:
    """Layers of a file, computed without the GUI.

    Parameters
    ----------
    given : facts from the user
    """
    from cellcam import open_stack

    stack = open_stack(
        file,
        axes=given.axes,
        channels=given.channels,
        series=given.series,
        pixel_size_um=given.pixel_size_um,
        time_step_s=given.time_step_s,
        tolerate_missing=given.tolerate_missing,
    )
    _check_plane_fits(stack)
    layers = _layers_of(stack, given)
    for kind in {kind for _, _, kind in layers}:
        _make_a_layer(kind)
    return layers


def _check_plane_fits(stack: Stack) -> None:
    """Refuse a slide larger than memory: napari reads the whole plane that it shows."""
    from cellcam.stacks.memory import check_fits

    height, width = stack.data.shape[-2:]
    samples = len(stack.channels) if stack.is_colour else 1
    check_fits(
        samples * height * width * stack.data.dtype.itemsize,
        f"A plane of {stack.name}, {height} x {width} pixels,",
        "Work on it with cellcam batch, and look at it in a viewer of slides such as QuPath.",
    )


def _layers_of(stack: Stack, given: FileFacts) -> list[LayerData]:
    from napari_cellcam.files.label_files import label_layers
    from napari_cellcam.files.saved_results import (
        cell_layers,
        holds_cells,
        holds_maps,
        importance_layers,
    )

    if holds_maps(stack):
        return importance_layers(stack)
    if holds_cells(stack):
        return cell_layers(stack)
    is_small = stack.data.nbytes <= _READ_WHOLE
    if is_small:
        stack = stack.loaded()
    layers = label_layers(stack) or stack_layers(stack, given)
    if not is_small:
        return layers
    return [(np.asarray(pixels), attributes, kind) for pixels, attributes, kind in layers]


@cache  # only the first one is slow
def _make_a_layer(kind: str) -> None:
    """Have napari import and build what its layers share, up to 0.4 s, outside the GUI thread."""
    from napari.layers import Layer

    Layer.create(np.zeros((1, 1), np.uint8), {"units": "um"}, kind)


def _drawn_one_by_one(layers: list[LayerData]) -> list[LayerData]:
    """Have the window drawn after each of these layers that napari adds.

    napari adds the layers of a file in one go, and needs about 0.15 s for each.
    """
    from napari import current_viewer

    from napari_cellcam.work.waiting import draw_window, in_gui

    viewer = current_viewer() if in_gui() and len(layers) > 1 else None
    if viewer is None:
        return layers
    inserted = viewer.layers.events.inserted
    left = len(layers)

    def draw(_: Event) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            inserted.disconnect(draw)
        draw_window()

    # After everybody else has heard of the layer.
    inserted.connect(draw, position="last")
    return layers
