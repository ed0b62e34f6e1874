"""The rows in which a folder, its results, the model and the options are chosen."""

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
from napari_cellcam.batch_command import BatchCommand
from napari_cellcam.buttons import button
from napari_cellcam.model_choice import ModelChoice, PlaneChoice


class BatchForm(QWidget):
    """What is to be done with which folder.

    Attributes
    ----------
    folder, out : of the images and of the results
    model : and its device
    explained : per cent of the cells
    planes, labels, more : options, see `BatchCommand`
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
        """Take the images of a folder; results go beside it unless told otherwise."""
        before = self.folder.text()
        self.folder.setText(folder)
        if self.out.text() in ("", _beside(before)):
            self.out.setText(_beside(folder))

    def command(self) -> BatchCommand:
        """The command that does what is chosen now."""
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
        self.labels = QLineEdit()
        self.labels.setPlaceholderText("are found; or masks/{name}.tif")
        self.labels.setToolTip(
            "Your own label images, seen from each image's folder; {name} is the image's name."
        )
        self.more = QLineEdit()
        self.more.setPlaceholderText("--map DNA=DAPI --diameter-um 12")
        self.more.setToolTip("Further options of cellcam batch, as in a terminal.")
        form.addRow("Explain", self.explained)
        form.addRow("Planes", self.planes)
        form.addRow("Cells", self.labels)
        form.addRow("More", self.more)
        return form

    def _ask_for_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the images"):
            self.choose_folder(folder)

    def _ask_for_out(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder for the results"):
            self.out.setText(folder)


def _beside(folder: str) -> str:
    """Where the results of a folder go if nothing else is said."""
    path = Path(folder)
    return str(path.with_name(f"{path.name}-results")) if path.name else ""
