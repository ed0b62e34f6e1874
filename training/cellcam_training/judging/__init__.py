"""Classifiers evaluated on cells of known class, and so are their explanations."""
