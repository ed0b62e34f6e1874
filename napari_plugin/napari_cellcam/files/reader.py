"""Reader for TIFF stacks and CellCam's results: napari's reader drops channels, scale and units."""

from __future__ import annotations

from collections.abc import Callable

from napari_cellcam.layers.stack_layers import LayerData, stack_layers

Reader = Callable[[str | list[str]], list[LayerData]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Reader for one TIFF file; None for several files at once, which napari stacks itself."""
    if isinstance(path, list):
        return None
    return _read_layers


def _read_layers(path: str | list[str]) -> list[LayerData]:
    from cellcam import open_stack
    from cellcam.errors import InputError
    from napari_cellcam.files.saved_results import (
        cell_layers,
        holds_cells,
        holds_maps,
        importance_layers,
    )

    try:
        stack = open_stack(str(path))
    except InputError as error:
        raise InputError(_with_console_line(str(error), str(path))) from error
    if holds_maps(stack):
        return importance_layers(stack)
    return cell_layers(stack) if holds_cells(stack) else stack_layers(stack)


def _with_console_line(message: str, path: str) -> str:
    """The message, and how to give the missing argument in napari's console."""
    # Messages name a missing argument as axes="CYX" (--axes).
    if "(--" not in message:
        return message
    return (
        f"{message} In napari's console: import cellcam, napari_cellcam.layers.stack_layers; "
        f"napari_cellcam.layers.stack_layers.add_stack(viewer, cellcam.open_stack({path!r}, ...)). "
        "Or save the file as an OME-TIFF of one image, which names its axes."
    )
