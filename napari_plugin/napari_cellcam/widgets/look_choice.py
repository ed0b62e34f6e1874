"""Choice of what the cells look like."""

from __future__ import annotations

from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox

_LOOKS = {
    "auto": "dark in white light, else bright",
    "bright": "bright cells",
    "dark": "dark cells on bright ground",
    "hematoxylin": "nuclei in hematoxylin (H&E)",
}


class LookChoice(NarrowComboBox):
    """Choice of what the cells look like; see ``look_for`` of `ThresholdFinder`."""

    def __init__(self) -> None:
        super().__init__()
        for look, words in _LOOKS.items():
            self.addItem(words, look)
        self.setToolTip("What the threshold finds. White light is recognised in colour pictures.")

    def chosen(self) -> str:
        """The chosen look."""
        return str(self.currentData())
