"""A combo box for a dock that leaves half of a small window to the canvas."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QWidget

_SHOWN = 5  # characters, at least


class NarrowComboBox(QComboBox):
    """A combo box that is no wider than its dock, however long its entries are."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(_SHOWN)
