"""The form for a batch: folders, model and options."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from cellcam.request import Request
from napari_cellcam.batch_dock.batch_command import BatchCommand
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.model_choice import ModelChoice
from napari_cellcam.widgets.plane_choice import PlaneChoice


class BatchForm(QWidget):
    """Fields for a `BatchCommand`.

    Attributes
    ----------
    folder, out : folders of the images and of the results
    model : the model and its device
    explained : percentage of the cells
    planes : what is done with planes
    labels, more : see `BatchCommand`
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._folder_rows())
        self.model = ModelChoice()
        column.addWidget(self.model)
        column.addLayout(self._option_rows())

    def choose_folder(self, folder: str) -> None:
        """Choose a folder of images, and a folder beside it for results if none was chosen."""
        previous = self.folder.text()
        self.folder.setText(folder)
        if self.out.text() in ("", _results_beside(previous)):
            self.out.setText(_results_beside(folder))

    def command(self) -> BatchCommand:
        """The command of the present choices."""
        return BatchCommand(
            folder=self.folder.text().strip(),
            out=self.out.text().strip(),
            model=self.model.folder,
            request=Request(explained=self.explained.value() / 100, z=self.planes.chosen()),
            labels=self.labels.text().strip(),
            device=self.model.device.chosen(),
            more=self.more.text(),
        )

    def _folder_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.folder, self.out = QLineEdit(), QLineEdit()
        self.folder.setPlaceholderText("folder of the images, with its subfolders")
        self.out.setPlaceholderText("folder for the results")
        for name, line, action in (
            ("Images", self.folder, self._ask_for_folder),
            ("Results", self.out, self._ask_for_out),
        ):
            row = QHBoxLayout()
            row.addWidget(line)
            button("Choose...", action, row)
            form.addRow(name, row)
        return form

    def _option_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.explained = QDoubleSpinBox()
        self.explained.setRange(0, 100)
        self.explained.setDecimals(1)
        self.explained.setValue(100)
        self.explained.setSuffix(" % of the cells")
        self.explained.setSpecialValueText("no cell: only classify")
        self.planes = PlaneChoice()
        self.model.chosen.connect(lambda: self.planes.offer(self.model.spec, has_planes=True))
        self.labels = QLineEdit()
        self.labels.setPlaceholderText("found by CellCam; or masks/{name}.tif")
        self.labels.setToolTip(
            "Your label images, relative to each image's folder; {name} is the image's name."
        )
        self.more = QLineEdit()
        self.more.setPlaceholderText("--map DNA=DAPI --diameter-um 12")
        self.more.setToolTip("Further options of cellcam batch, as in a terminal.")
        form.addRow("Explain", self.explained)
        form.addRow("Planes", self.planes)
        form.addRow(self.planes.meaning)
        form.addRow("Cells", self.labels)
        form.addRow("More", self.more)
        return form

    def _ask_for_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the images"):
            self.choose_folder(folder)

    def _ask_for_out(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder for the results"):
            self.out.setText(folder)


def _results_beside(folder: str) -> str:
    """Default folder for results: beside the folder of the images."""
    path = Path(folder)
    return str(path.with_name(f"{path.name}-results")) if path.name else ""
