"""Sample data for napari's File menu."""

from __future__ import annotations

from collections.abc import Sequence

from napari_cellcam.files.reader import read_layers
from napari_cellcam.layers.stack_layers import LayerData


def demo_stack() -> Sequence[LayerData | tuple[None]]:
    """The simulated cells of ``cellcam demo``, one layer for each stain."""
    from cellcam import samples

    return read_layers(str(samples.sample_path(samples.DEMO_STACK)))
