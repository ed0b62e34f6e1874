"""Microscopy images in, results out."""
