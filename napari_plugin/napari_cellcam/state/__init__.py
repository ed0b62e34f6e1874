"""What is known about the open image: cells, calls, true classes. No Qt, no napari."""
