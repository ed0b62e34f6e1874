"""Simulated cells: fields of view, cells with planted evidence, and the models trained on them."""
