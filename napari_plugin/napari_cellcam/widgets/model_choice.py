"""Choice of the model and its device, in both dock widgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from cellcam.errors import CellCamError
from napari_cellcam.widgets.device_choice import DeviceChoice
from napari_cellcam.widgets.labels import WrappedLabel
from napari_cellcam.widgets.preferences import preference

if TYPE_CHECKING:
    from cellcam.models.network_input import ClassifierDraft
    from cellcam.models.spec import ModelSpec


class ModelChoice(QWidget):
    """A model folder with a line about the model, and the device.

    Attributes
    ----------
    spec, folder : of the model; None and empty before the first choice
    buttons : the row of the model's name, for more buttons

    Signals
    -------
    chosen : another model was chosen
    failed : an error
    """

    chosen = Signal()
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.spec: ModelSpec | None = None
        self.folder = ""
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self._name = QLineEdit()
        self._name.setReadOnly(True)
        open_folder = QPushButton("Open...")
        open_folder.clicked.connect(self._ask)
        row.addWidget(self._name)
        row.addWidget(open_folder)
        self.buttons = row
        self._about = WrappedLabel()
        self.device = DeviceChoice()
        form.addRow("Model", row)
        form.addRow(self._about)
        form.addRow("Device", self.device)

    @property
    def identity(self) -> str:
        """Folder of the model and hash of its weights; empty before the first choice."""
        return f"{self.folder} {self.spec.weights_sha256[:12]}" if self.spec else ""

    def choose(self, folder: str) -> None:
        """Choose the model in a folder; only its description is read."""
        from cellcam.models.bundle import read_spec

        try:
            spec = read_spec(Path(folder))
        except CellCamError as error:
            self.failed.emit(error)
            return
        self.spec, self.folder = spec, folder
        self._name.setText(Path(folder).name)
        pixel = f", {spec.pixel_size_um[-1]:g} um a pixel" if spec.pixel_size_um else ""
        self._about.setText(
            f"{spec.network}: {', '.join(spec.classes)}. Crops of "
            f"{' x '.join(map(str, spec.crop_size))} pixels{pixel}."
        )
        self.chosen.emit()

    def show_draft(self, draft: ClassifierDraft) -> None:
        """Show a classifier that is not trained yet, in place of a model."""
        self.spec, self.folder = None, ""
        self._name.setText("new classifier")
        self._about.setText(
            f"Not trained yet: {', '.join(draft.classes)}. Give cells their class, then train."
        )

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder")
        if folder:
            self.choose(folder)


def preferred_model() -> str:
    """Folder of the model at the start: from the preferences, or the packaged model."""
    from cellcam import samples

    return str(preference("model_folder") or samples.sample_path(samples.DEMO_MODEL))
