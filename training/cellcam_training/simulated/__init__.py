"""Simulated cells: fields of view, cells with planted evidence, and networks trained on them."""
