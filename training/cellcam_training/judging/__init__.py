"""Evaluation on labelled cells: classifiers, explanations, and their reports."""
