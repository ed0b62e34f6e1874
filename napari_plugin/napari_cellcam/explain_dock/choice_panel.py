"""Choice of layers, model and cells: the upper part of the dock widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

from cellcam.cells.finder import CellFinder, finder_names, make_finder
from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.errors import InputError
from cellcam.request import Classes, Request
from napari_cellcam.layers.layer_choices import LayerChoices
from napari_cellcam.layers.result_layers import is_result
from napari_cellcam.layers.stack_from_layers import layer_axes
from napari_cellcam.layers.stack_layers import cellcam_metadata
from napari_cellcam.widgets.model_choice import ModelChoice, PlaneChoice
from napari_cellcam.widgets.preferences import preference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import napari
    from napari.layers import Image, Layer
    from napari.utils.events import Event, EventEmitter

    from cellcam.models.spec import ModelSpec
    from napari_cellcam.widgets.device_choice import DeviceChoice

_FIND, _PREDICTED, _ALL = "find them", "each cell's predicted class", "all classes"


class ChoicePanel(QWidget):
    """Model, channels, cells and classes to explain.

    Attributes
    ----------
    sources : choice of a layer for each channel of the model

    Signals
    -------
    changed : a choice that decides which cells are found
    failed : an error
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.sources: dict[str, QComboBox] = {}
        self._axes_layer: Image | None = None  # the layer that the text in `axes` is about
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.model = ModelChoice()
        self.model.chosen.connect(self._show_model)
        self.model.failed.connect(self.failed)
        column.addWidget(self.model)
        self.channels = QFormLayout()
        column.addLayout(self.channels)
        column.addLayout(self._cell_rows())
        for event in _layer_list_events(viewer):
            event.connect(self.refresh_layers)

    def release(self) -> None:
        """Disconnect from the viewer."""
        disconnect_layer_list(self.viewer, self.refresh_layers)
        self.device.release()

    @property
    def spec(self) -> ModelSpec | None:
        """Description of the chosen model."""
        return self.model.spec

    @property
    def model_folder(self) -> str:
        """Folder of the chosen model."""
        return self.model.folder

    @property
    def device(self) -> DeviceChoice:
        """Choice of the device."""
        return self.model.device

    def choose_model(self, folder: str) -> None:
        """Choose the model in a folder."""
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
        self.classes.addItems([_PREDICTED, _ALL, *self.spec.classes])
        self._offer_layers(chosen)

    def choices(self) -> LayerChoices:
        """The present choices.

        Raises
        ------
        InputError
            If a channel of the model has no layer.
        UsageError
            If the finder lacks an option that is set.
        """
        labels = self.cells.currentData()
        return LayerChoices(
            layers=self._chosen_layers(),
            axes=self.axes.text().upper(),
            model_folder=self.model_folder,
            model=self.model.identity,
            request=Request(
                finder=self._chosen_finder() if labels is None else ThresholdFinder(),
                z=self.planes.chosen(),
                classes=self.chosen_classes(),
            ),
            cells=labels,
            device=self.device.chosen(),
        )

    def _chosen_finder(self) -> CellFinder:
        options = {
            "channel": self._find_channel(),
            "diameter_um": self.diameter.value() or None,
            "threshold": self.threshold.value() or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return make_finder(self.finder.currentText(), given)

    def chosen_classes(self) -> Classes:
        """Classes to explain, see `Request`."""
        chosen = self.classes.currentText()
        words: dict[str, Classes] = {_PREDICTED: "predicted", _ALL: "all"}
        return words.get(chosen, (chosen,))

    def refresh_layers(self, _: Event | None = None) -> None:
        """Offer the layers of the viewer; chosen layers stay, new channels are matched by name."""
        self._offer_layers(self._chosen())

    def _offer_layers(self, chosen: dict[str, Image | None]) -> None:
        others = [layer for layer in self.viewer.layers if not is_result(layer)]
        images = [layer for layer in others if _kind(layer) == "image"]
        first_before = self._first_image()
        for name, choice in self.sources.items():
            wanted = chosen.get(name)
            if wanted not in images:
                wanted = _best_match(name, images, len(self.sources))
            _offer(choice, images, wanted)
        labels = [layer for layer in others if _kind(layer) == "labels"]
        _offer(self.cells, labels, self.cells.currentData(), first_item=_FIND)
        if self._first_image() is not first_before:
            self._suggest_axes()
            self.changed.emit()

    def _suggest_axes(self) -> None:
        """Fill in the axes of another first layer; what the user wrote for the same layer stays."""
        first = self._first_image()
        if first is not self._axes_layer:
            self._axes_layer = first
            self.axes.setText(layer_axes(first) if first is not None else "")

    def _cell_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.axes = QLineEdit()
        self.axes.setToolTip("Meaning of the axes of the images: T time, Z depth, then YX.")
        self.planes = PlaneChoice()
        self.cells = QComboBox()
        self.finder = QComboBox()
        self.finder.addItems(finder_names())
        self.finder.setCurrentText(ThresholdFinder.name)
        self.diameter = _number(1000, "as the model says", " um")
        self.threshold = _number(2**32, "automatic")
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
        if self.finder.count() > 1:
            form.addRow("Found by", self.finder)
        form.addRow("Diameter", self.diameter)
        form.addRow("Threshold", row)
        form.addRow("Explain", self.classes)
        self.preview.setChecked(bool(preference("preview")))
        self.preview.toggled.connect(self.changed)
        for field in (self.diameter, self.threshold):
            field.valueChanged.connect(self.changed)
        for choice in (self.cells, self.planes, self.finder):
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
        """Channel in which cells are found; None if the model's description has it."""
        finding = self.spec is not None and self.spec.finding
        if finding and finding.channel in self.sources:
            return None
        return next(iter(self.sources), None)


def disconnect_layer_list(
    viewer: napari.viewer.Viewer, callback: Callable[[Event], None], _: object = None
) -> None:
    """Disconnect a callback from the events of the layer list."""
    for event in _layer_list_events(viewer):
        event.disconnect(callback)


def _layer_list_events(viewer: napari.viewer.Viewer) -> list[EventEmitter]:
    """Events of added, removed and renamed layers; napari 0.6 has no event for new names."""
    events = viewer.layers.events
    known = (getattr(events, name, None) for name in ("inserted", "removed", "renamed"))
    return [event for event in known if event is not None]


def _offer(
    choice: QComboBox,
    layers: Sequence[Layer],
    wanted: Layer | None,
    first_item: str | None = None,
) -> None:
    """Fill a choice with layers; it emits no change if the chosen layer stays."""
    same = choice.currentData() is wanted
    blocked = choice.blockSignals(same or choice.signalsBlocked())
    choice.clear()
    if first_item is not None:
        choice.addItem(first_item, None)
    for layer in layers:
        choice.addItem(layer.name, layer)
    at = next((i for i in range(choice.count()) if choice.itemData(i) is wanted), -1)
    choice.setCurrentIndex(max(at, -1 if first_item is None else 0))
    choice.blockSignals(blocked)


def _number(largest: float, special: str, suffix: str = "") -> QDoubleSpinBox:
    """A field for a number; 0 means automatic and is shown as ``special``."""
    field = QDoubleSpinBox()
    field.setRange(0, largest)
    field.setSpecialValueText(special)
    field.setSuffix(suffix)
    return field


def _kind(layer: Layer) -> str:
    return str(layer._type_string) if hasattr(layer, "_type_string") else ""


def _best_match(name: str, images: Sequence[Image], n_channels: int) -> Image | None:
    """Layer for a channel by its name, or the only layer for the only channel; never by order."""
    for layer in images:
        channel = cellcam_metadata(layer).get("channel", layer.name)
        if name.lower() in (channel.lower(), layer.name.lower()):
            return layer
    return images[0] if n_channels == len(images) == 1 else None
