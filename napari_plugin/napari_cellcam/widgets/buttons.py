"""Buttons in a row."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QBoxLayout, QPushButton


def button(text: str, action: Callable[[], object], row: QBoxLayout) -> QPushButton:
    """Add a button to a row; a click calls ``action``."""
    added = QPushButton(text)
    added.clicked.connect(lambda: action())
    row.addWidget(added)
    return added
