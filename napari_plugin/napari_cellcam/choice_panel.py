"""What is classified, by which model, and how cells are found: the upper part of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.errors import InputError
from cellcam.request import Classes, Request
from napari_cellcam.layer_choices import LayerChoices
from napari_cellcam.model_choice import ModelChoice, PlaneChoice
from napari_cellcam.preferences import preference
from napari_cellcam.results import is_result
from napari_cellcam.sources import layer_axes

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from cellcam.models.spec import ModelSpec
    from napari_cellcam.device_line import DeviceLine

_FIND, _CALL, _ALL = "find them", "each cell's own call", "all classes"


class ChoicePanel(QWidget):
    """Model, channels, cells and what to explain.

    Signals
    -------
    changed : something that decides which cells are found
    failed : an error
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.sources: dict[str, QComboBox] = {}
        self._axes_of: Image | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.model = ModelChoice()
        self.model.chosen.connect(self._show_model)
        self.model.failed.connect(self.failed)
        column.addWidget(self.model)
        self.channels = QFormLayout()
        column.addLayout(self.channels)
        column.addLayout(self._cell_rows())
        for event in _events_of(viewer):
            event.connect(self.refresh_layers)

    def let_go(self) -> None:
        """Let go of the viewer."""
        forget(self.viewer, self.refresh_layers)
        self.device.let_go()

    @property
    def spec(self) -> ModelSpec | None:
        """Description of the chosen model."""
        return self.model.spec

    @property
    def model_folder(self) -> str:
        """Its folder."""
        return self.model.folder

    @property
    def device(self) -> DeviceLine:
        """What computes."""
        return self.model.device

    def choose_model(self, folder: str) -> None:
        """Use the model in a folder."""
        self.model.choose(folder)

    def _show_model(self) -> None:
        assert self.spec is not None
        chosen = self._chosen()  # channels of the same name keep their layers
        while self.channels.rowCount():
            self.channels.removeRow(0)
        self.sources = {name: QComboBox() for name in self.spec.channels}
        for name, choice in self.sources.items():
            self.channels.addRow(name, choice)
            choice.currentIndexChanged.connect(self._suggest_axes)
            choice.currentIndexChanged.connect(self.changed)
        self.classes.clear()
        self.classes.addItems([_CALL, _ALL, *self.spec.classes])
        self._offer_layers(chosen)

    def choices(self) -> LayerChoices:
        """What is chosen now.

        Raises
        ------
        InputError
            If a channel of the model has no layer.
        """
        labels = self.cells.currentData()
        finder = ThresholdFinder(
            channel=self._find_channel(),
            diameter_um=self.diameter.value() or None,
            threshold=self.threshold.value() or None,
        )
        return LayerChoices(
            layers=self._chosen_layers(),
            axes=self.axes.text().upper(),
            model_folder=self.model_folder,
            request=Request(
                finder=finder if labels is None else ThresholdFinder(),
                z=self.planes.chosen(),
                classes=self.chosen_classes(),
            ),
            cells=labels,
            device=self.device.chosen(),
        )

    def chosen_classes(self) -> Classes:
        """Classes to explain, see `Request`."""
        chosen = self.classes.currentText()
        words: dict[str, Classes] = {_CALL: "predicted", _ALL: "all"}
        return words.get(chosen, (chosen,))

    def refresh_layers(self, _: Any = None) -> None:
        """Offer the layers there are; what was chosen stays chosen, names decide at first."""
        self._offer_layers(self._chosen())

    def _offer_layers(self, chosen: dict[str, Image | None]) -> None:
        others = [layer for layer in self.viewer.layers if not is_result(layer)]
        images = [layer for layer in others if _kind(layer) == "image"]
        first_before = self._first_image()
        for name, choice in self.sources.items():
            before = chosen.get(name)
            wanted = before if before in images else _best_match(name, images, len(self.sources))
            _offer(choice, images, wanted)
        own = [layer for layer in others if _kind(layer) == "labels"]
        _offer(self.cells, own, self.cells.currentData(), before=_FIND)
        if self._first_image() is not first_before:
            self._suggest_axes()
            self.changed.emit()

    def _suggest_axes(self) -> None:
        """Say what the axes mean; what the user wrote about an image stays."""
        first = self._first_image()
        if first is not self._axes_of:
            self._axes_of = first
            self.axes.setText(layer_axes(first) if first is not None else "")

    def _cell_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.axes = QLineEdit()
        self.axes.setToolTip("What the axes of the images mean: T time, Z depth, then YX.")
        self.planes = PlaneChoice()
        self.cells = QComboBox()
        self.diameter = _number(1000, "as the model says", " um")
        self.threshold = _number(2**32, "by itself")
        self.threshold.setToolTip("Intensity above which a pixel of the channel is cell.")
        self.threshold.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.preview = QCheckBox("Preview")
        self.preview.setToolTip("Outline the cells that would be found in the plane you see.")
        row = QHBoxLayout()
        row.addWidget(self.threshold, 1)
        row.addWidget(self.preview)
        self.classes = QComboBox()
        form.addRow("Axes", self.axes)
        form.addRow("Planes", self.planes)
        form.addRow("Cells", self.cells)
        form.addRow("Diameter", self.diameter)
        form.addRow("Threshold", row)
        form.addRow("Explain", self.classes)
        self.preview.setChecked(bool(preference("preview")))
        self.preview.toggled.connect(self.changed)
        for field in (self.diameter, self.threshold):
            field.valueChanged.connect(self.changed)
        for choice in (self.cells, self.planes):
            choice.currentIndexChanged.connect(self.changed)
        return form

    def _first_image(self) -> Image | None:
        return next((c.currentData() for c in self.sources.values() if c.currentData()), None)

    def _chosen(self) -> dict[str, Image | None]:
        return {name: choice.currentData() for name, choice in self.sources.items()}

    def _chosen_layers(self) -> dict[str, Image]:
        chosen = {name: layer for name, layer in self._chosen().items() if layer is not None}
        missing = [name for name in self.sources if name not in chosen]
        if missing:
            raise InputError(
                f"No image layer was chosen for {', '.join(missing)}. Open the image, or choose "
                "its layer beside the channel's name."
            )
        return chosen

    def _find_channel(self) -> str | None:
        """Channel in which cells are found; None where the model says it."""
        said = self.spec is not None and self.spec.finding
        return None if said and said.channel in self.sources else next(iter(self.sources), None)


def forget(viewer: napari.viewer.Viewer, callback: Any, _: Any = None) -> None:
    """Disconnect a callback from the list of layers."""
    for event in _events_of(viewer):
        event.disconnect(callback)


def _events_of(viewer: napari.viewer.Viewer) -> list[Any]:
    """What changes the list of layers, or a name in it; napari 0.6 does not tell of names."""
    events = viewer.layers.events
    known = (getattr(events, name, None) for name in ("inserted", "removed", "renamed"))
    return [event for event in known if event is not None]


def _offer(choice: QComboBox, layers: list[Any], wanted: Any, before: str | None = None) -> None:
    """Fill a choice with layers; told of no change where the chosen one stays."""
    same = choice.currentData() is wanted
    blocked = choice.blockSignals(same or choice.signalsBlocked())
    choice.clear()
    if before is not None:
        choice.addItem(before, None)
    for layer in layers:
        choice.addItem(layer.name, layer)
    at = next((i for i in range(choice.count()) if choice.itemData(i) is wanted), -1)
    choice.setCurrentIndex(max(at, -1 if before is None else 0))
    choice.blockSignals(blocked)


def _number(largest: float, special: str, suffix: str = "") -> QDoubleSpinBox:
    """A number for which 0 means that it is left to CellCam."""
    field = QDoubleSpinBox()
    field.setRange(0, largest)
    field.setSpecialValueText(special)
    field.setSuffix(suffix)
    return field


def _kind(layer: Any) -> str:
    return str(layer._type_string) if hasattr(layer, "_type_string") else ""


def _best_match(name: str, images: list[Any], wanted: int) -> Any:
    """Layer for a channel: of its name, or the only one where one is wanted; never by order."""
    for layer in images:
        known = layer.metadata.get("cellcam", {}).get("channel", layer.name)
        if name.lower() in (known.lower(), layer.name.lower()):
            return layer
    return images[0] if wanted == len(images) == 1 else None
