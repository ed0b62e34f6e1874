"""A field for a number that may be left to the program."""

from __future__ import annotations

from qtpy.QtWidgets import QDoubleSpinBox


def number_field(largest: float, special: str, suffix: str = "") -> QDoubleSpinBox:
    """A field for a number; 0 means automatic and is shown as ``special``."""
    field = QDoubleSpinBox()
    field.setRange(0, largest)
    field.setSpecialValueText(special)
    field.setSuffix(suffix)
    return field
