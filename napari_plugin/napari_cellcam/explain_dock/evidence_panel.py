"""Controls of the evidence on the canvas: on and off, which class, scale and opacity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QPushButton,
    QSlider,
    QWidget,
)

from napari_cellcam.widgets.charts import ColourBar

if TYPE_CHECKING:
    from napari_cellcam.layers.evidence_layers import EvidenceLayers

_OPACITY = 90  # percent


class EvidencePanel(QWidget):
    """Says how the evidence is drawn; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._evidence: EvidenceLayers | None = None
        self.switch = QPushButton("Evidence (E)")
        self.switch.setCheckable(True)
        self.switch.setToolTip("Show the evidence over the grey image, or the image in colour.")
        self.switch.toggled.connect(self._switch)
        self.choice = QComboBox()
        self.choice.setToolTip(
            "Whose evidence is drawn: for each cell that for its own call, or that for one class."
        )
        self.choice.currentTextChanged.connect(self._choose)
        self.shared = QCheckBox("one scale")
        self.shared.setChecked(True)
        self.shared.setToolTip(
            "Draw all classes on one scale, so that they compare; otherwise each on its own."
        )
        self.shared.toggled.connect(self._share)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(_OPACITY)
        self.opacity.setToolTip("Opacity of the evidence.")
        self.opacity.valueChanged.connect(self._fade)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.switch, 0, 0)
        grid.addWidget(self.choice, 0, 1)
        grid.addWidget(self.shared, 1, 0)
        grid.addWidget(self.opacity, 1, 1)
        # napari's own colour bar takes a second to appear (docs/decisions/0010).
        self.bar = ColourBar()
        grid.addWidget(self.bar, 2, 0, 1, 2)
        grid.setColumnStretch(1, 1)
        self.setVisible(False)

    def show_evidence(self, evidence: EvidenceLayers | None) -> None:
        """Control this evidence; None hides the controls."""
        self._evidence = None  # what is set below is not a wish of the user
        if evidence is not None:
            self.choice.clear()
            self.choice.addItems(evidence.names)
            self.choice.setCurrentText(evidence.shown)
            self.switch.setChecked(evidence.is_on)
            evidence.set_opacity(self.opacity.value() / 100)
            self.bar.show_scale(evidence.largest)
        self._evidence = evidence
        self.setVisible(evidence is not None)

    def toggle(self) -> None:
        """Switch the evidence on or off."""
        if self._evidence is not None:
            self.switch.toggle()

    def _switch(self, on: bool) -> None:
        if self._evidence is not None:
            self._evidence.switch(on)

    def _choose(self, name: str) -> None:
        if self._evidence is not None and name:
            self._evidence.show_map(name)
            self.bar.show_scale(self._evidence.largest)

    def _share(self, shared: bool) -> None:
        if self._evidence is not None:
            self._evidence.share_scale(shared)
            self.bar.show_scale(self._evidence.largest)

    def _fade(self, percent: int) -> None:
        if self._evidence is not None:
            self._evidence.set_opacity(percent / 100)
