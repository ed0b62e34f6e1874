"""Reader for TIFF stacks: napari's own drops channels, scale and units."""

from __future__ import annotations

from collections.abc import Callable

from napari_cellcam.layers import LayerData, stack_layers

Reader = Callable[[str | list[str]], list[LayerData]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Reader for one TIFF file; None for several files at once, which napari stacks itself."""
    if isinstance(path, list):
        return None
    return _read


def _read(path: str | list[str]) -> list[LayerData]:
    from cellcam import open_stack

    return stack_layers(open_stack(str(path)))
