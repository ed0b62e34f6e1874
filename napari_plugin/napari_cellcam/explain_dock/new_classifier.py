"""A classifier from nothing: which layers are stains, how cells are found, which classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from cellcam.models.network_input import ClassifierDraft
from cellcam.models.spec import Finding
from cellcam.names import split_names
from napari_cellcam.layers.channel_sources import (
    ColourSample,
    channel_sources,
    source_channel,
    source_layer,
    source_name,
)
from napari_cellcam.layers.stack_from_layers import layer_axes, layer_pixel_size
from napari_cellcam.widgets.plane_choice import WAYS

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from cellcam.models.network_input import Planes


@dataclass(frozen=True, eq=False)
class NewClassifier:
    """What the user said about a classifier that is to be trained.

    Attributes
    ----------
    draft : its stains, scale and classes
    layers : layer of each stain
    labels : the user's cells; None: cells are found
    """

    draft: ClassifierDraft
    layers: dict[str, Image | ColourSample]
    labels: Labels | None


class NewClassifierDialog(QDialog):
    """Asks for stains, cells and classes; `answer` holds what was said.

    Parameters
    ----------
    images, labels : layers to choose from
    """

    def __init__(
        self, images: Sequence[Image], labels: Sequence[Labels], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("New classifier")
        self._images = channel_sources(images)
        column = QVBoxLayout(self)
        column.addWidget(
            _text("Which layers does the classifier see, and what is stained in each of them?")
        )
        column.addLayout(self._stain_rows())
        column.addLayout(self._other_rows(labels))
        self._problem = _text("")
        self._problem.setStyleSheet("color: #D55E00")
        column.addWidget(self._problem)
        buttons = QDialogButtonBox.StandardButton
        self._buttons = QDialogButtonBox(buttons.Ok | buttons.Cancel)
        self._ok = self._buttons.button(buttons.Ok)
        self._ok.setText("Find the cells")
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        column.addWidget(self._buttons)
        self.setMinimumWidth(460)
        self._check()

    def answer(self) -> NewClassifier:
        """What the user said."""
        layers = self._stains()
        first = source_layer(next(iter(layers.values())))
        field: Planes = self._planes.currentData() if self._has_planes() else "plane"
        pixel = layer_pixel_size(first, layer_axes(first))
        sizes = pixel[-(3 if field == "volume" else 2) :]
        finder = self._cells.currentData()
        finding = None
        if isinstance(finder, str):
            finding = Finding(channel=finder, diameter_um=self._diameter_um())
        draft = ClassifierDraft(
            channels=tuple(layers),
            pixel_size_um=tuple(s for s in sizes if s) if all(sizes) else None,
            classes=tuple(self._class_names()),
            field=field,
            finding=finding,
        )
        return NewClassifier(draft, layers, None if isinstance(finder, str) else finder)

    def _stain_rows(self) -> QGridLayout:
        grid = QGridLayout()
        grid.addWidget(QLabel("Layer"), 0, 0)
        grid.addWidget(QLabel("Stain"), 0, 1)
        self._used: list[QCheckBox] = []
        self._names: list[QLineEdit] = []
        for row, layer in enumerate(self._images, start=1):
            used = QCheckBox(source_name(layer))
            used.setChecked(True)
            used.toggled.connect(self._check)
            name = QLineEdit(source_channel(layer))
            name.setToolTip("Name of the stain, such as DNA or actin.")
            name.textChanged.connect(self._check)
            grid.addWidget(used, row, 0)
            grid.addWidget(name, row, 1)
            self._used.append(used)
            self._names.append(name)
        return grid

    def _other_rows(self, labels: Sequence[Labels]) -> QFormLayout:
        form = QFormLayout()
        self._labels = list(labels)
        self._cells = QComboBox()
        self._cells.setToolTip("A stain in which each cell is one bright spot, or a labels layer.")
        self._diameter = QDoubleSpinBox()
        self._diameter.setRange(0, 10_000)
        self._diameter.setSpecialValueText("measured")
        self._diameter.setToolTip("Typical width of a cell. Leave it as it is to have it measured.")
        self._planes = QComboBox()
        for key, way in WAYS.items():
            self._planes.addItem(way.name, key)
            self._planes.setItemData(
                self._planes.count() - 1, way.meaning, Qt.ItemDataRole.ToolTipRole
            )
        self._planes.setToolTip("What the network sees of a stack of planes.")
        self._classes = QLineEdit()
        self._classes.setPlaceholderText("interphase, mitotic")
        self._classes.setToolTip("Names of the classes, separated by commas. More can be added.")
        self._classes.textChanged.connect(self._check)
        form.addRow("Cells", self._cells)
        form.addRow("Diameter", self._diameter)
        if self._has_planes():
            form.addRow("Planes", self._planes)
        form.addRow("Classes", self._classes)
        return form

    def _check(self) -> None:
        """Say what is missing; offer the stains in which cells can be found."""
        self._offer_cells()
        known = (
            self._images
            and None not in layer_pixel_size(self._first(), layer_axes(self._first()))[-2:]
        )
        self._diameter.setSuffix(" um" if known else "")
        self._diameter.setEnabled(bool(known) and isinstance(self._cells.currentData(), str))
        problem = self._what_is_wrong()
        self._problem.setText(problem)
        self._ok.setEnabled(not problem)

    def _what_is_wrong(self) -> str:
        names = [n.text().strip() for n, used in self._rows() if used.isChecked()]
        classes = self._class_names()
        if not names:
            return "Choose at least one layer."
        if "" in names or len(set(names)) < len(names):
            return "Give each stain a name of its own."
        if len(classes) < 2:
            return "Name at least two classes, separated by commas."
        if len(set(classes)) < len(classes):
            return "Two classes have the same name."
        return ""

    def _offer_cells(self) -> None:
        before = self._cells.currentText()
        blocked = self._cells.blockSignals(True)
        self._cells.clear()
        for name, used in self._rows():
            if used.isChecked() and name.text().strip():
                self._cells.addItem(f"find them in {name.text().strip()}", name.text().strip())
        for layer in self._labels:
            self._cells.addItem(f"those of {layer.name}", layer)
        self._cells.setCurrentIndex(max(0, self._cells.findText(before)))
        self._cells.blockSignals(blocked)

    def _rows(self) -> list[tuple[QLineEdit, QCheckBox]]:
        return list(zip(self._names, self._used, strict=True))

    def _stains(self) -> dict[str, Image | ColourSample]:
        rows = zip(self._rows(), self._images, strict=True)
        return {n.text().strip(): layer for (n, used), layer in rows if used.isChecked()}

    def _class_names(self) -> list[str]:
        return [name for name in split_names(self._classes.text()) if name]

    def _diameter_um(self) -> float | None:
        return self._diameter.value() or None if self._diameter.isEnabled() else None

    def _has_planes(self) -> bool:
        return any("Z" in layer_axes(source_layer(source)) for source in self._images)

    def _first(self) -> Image:
        return source_layer(self._images[0])


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
