"""Sample data for napari's File menu."""

from __future__ import annotations

from napari_cellcam.layers.stack_layers import LayerData, stack_layers


def demo_stack() -> list[LayerData]:
    """The simulated cells of ``cellcam demo``, one layer for each stain."""
    from cellcam import open_stack, samples
    from napari_cellcam.work.waiting import without_freezing

    path = samples.sample_path(samples.DEMO_STACK)
    return without_freezing(lambda: stack_layers(open_stack(path)))
