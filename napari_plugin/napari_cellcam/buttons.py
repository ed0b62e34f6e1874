"""Buttons in a row."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QHBoxLayout, QPushButton


def button(text: str, action: Callable[[], object], row: QHBoxLayout) -> QPushButton:
    """Add a button that does something to a row."""
    made = QPushButton(text)
    made.clicked.connect(lambda: action())
    row.addWidget(made)
    return made
