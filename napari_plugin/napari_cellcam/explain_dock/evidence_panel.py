"""Controls of the evidence on the canvas: on and off, which class, scale and opacity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QPushButton,
    QSlider,
    QWidget,
)

from napari_cellcam.widgets.charts import ColourBar, DifferenceBar
from napari_cellcam.widgets.labels import WrappedLabel
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox

if TYPE_CHECKING:
    from napari_cellcam.layers.evidence_layers import EvidenceLayers

_OPACITY = 90  # percent


class EvidencePanel(QWidget):
    """Says how the evidence is drawn; hidden while there is none.

    Signals
    -------
    wanted : name of a map that the user chose and that is not computed yet
    """

    wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._evidence: EvidenceLayers | None = None
        self.switch = QPushButton("Evidence (E)")
        self.switch.setCheckable(True)
        self.switch.setToolTip("Show the evidence over the grey image, or the image in colour.")
        self.switch.toggled.connect(self._switch)
        self.choice = NarrowComboBox()
        self.choice.setToolTip(
            "What is drawn: the evidence for each cell's own call, that for one class, or why each "
            "cell has its class and not the runner-up, for all stains or a single one."
        )
        self.choice.currentTextChanged.connect(self._choose)
        self.shared = QCheckBox("one scale")
        self.shared.setChecked(True)
        self.shared.setToolTip(
            "Draw all maps of a kind on one scale, so that they compare; otherwise each on its own."
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
        self.bar, self.difference_bar = ColourBar(), DifferenceBar()
        grid.addWidget(self.bar, 2, 0, 1, 2)
        grid.addWidget(self.difference_bar, 3, 0, 1, 2)
        self.about = WrappedLabel()
        self.about.setToolTip("Which cells were explained, and how.")
        grid.addWidget(self.about, 4, 0, 1, 2)
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
            evidence.share_scale(self.shared.isChecked())
            self.about.setText(evidence.evidence.about)
            self.about.setVisible(bool(evidence.evidence.about))
            self._show_bar(evidence)
        self._evidence = evidence
        self.setVisible(evidence is not None)

    def show_computed(self) -> None:
        """Show the map that the user waits for, if it is computed now."""
        evidence, name = self._evidence, self.choice.currentText()
        if evidence is not None and name in evidence.maps and name != evidence.shown:
            self._choose(name)

    def settle(self) -> None:
        """Return to the map that was shown, if the wanted one was not computed."""
        evidence = self._evidence
        if evidence is not None and self.choice.currentText() != evidence.shown:
            self.choice.setCurrentText(evidence.shown)

    def toggle(self) -> None:
        """Switch the evidence on or off."""
        if self._evidence is not None:
            self.switch.toggle()

    def _switch(self, on: bool) -> None:
        if self._evidence is not None:
            self._evidence.switch(on)

    def _choose(self, name: str) -> None:
        if self._evidence is None or not name:
            return
        if name in self._evidence.maps:
            self._evidence.show_map(name)
            self._show_bar(self._evidence)
        else:
            self._evidence.wait(True)
            self.wanted.emit(name)

    def _share(self, shared: bool) -> None:
        if self._evidence is not None:
            self._evidence.share_scale(shared)
            self._show_bar(self._evidence)

    def _show_bar(self, evidence: EvidenceLayers) -> None:
        """Show the colours and the end of the scale."""
        self.bar.show_scale(evidence.largest)
        self.difference_bar.show_scale("the call", "the runner-up", evidence.largest, is_cut=True)
        self.bar.setVisible(not evidence.is_signed)
        self.difference_bar.setVisible(evidence.is_signed)

    def _fade(self, percent: int) -> None:
        if self._evidence is not None:
            self._evidence.set_opacity(percent / 100)
