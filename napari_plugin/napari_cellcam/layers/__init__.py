"""napari's layers: from images to stacks, and from results to layers."""
