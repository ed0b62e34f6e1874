"""Sample data for napari's File menu."""

from __future__ import annotations

from napari_cellcam.layers.stack_layers import LayerData, stack_layers


def demo_stack() -> list[LayerData]:
    """The simulated cells of ``cellcam demo``, one layer for each stain."""
    from cellcam import open_stack, samples

    return stack_layers(open_stack(samples.sample_path(samples.DEMO_STACK)))
