"""Readers, writers and sample data for napari's File menu."""
