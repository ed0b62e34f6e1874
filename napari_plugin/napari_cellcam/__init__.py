"""CellCam in napari."""
