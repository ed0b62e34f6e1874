"""Choice of layers, model and cells: the upper part of the dock widget."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from cellcam.cells.finder import CellFinder, finder_names, finder_options, make_finder
from cellcam.cells.looks import as_one_text
from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.errors import InputError
from cellcam.models.network_input import ClassifierDraft
from cellcam.request import Classes, Request
from napari_cellcam.explain_dock.layer_offers import FIND_CELLS, best_match, layer_kind, offer
from napari_cellcam.explain_dock.new_classifier import NewClassifier, NewClassifierDialog
from napari_cellcam.layers.channel_sources import (
    ColourSample,
    channel_sources,
    is_picture,
    source_layer,
    source_name,
)
from napari_cellcam.layers.label_images import image_could_be_labels
from napari_cellcam.layers.layer_choices import LayerChoices
from napari_cellcam.layers.layer_list import disconnect_layer_list, layer_list_events
from napari_cellcam.layers.result_layers import is_result
from napari_cellcam.layers.stack_from_layers import layer_axes, layer_pixel_size, n_planes
from napari_cellcam.layers.stack_layers import cellcam_metadata
from napari_cellcam.state.project import Opened
from napari_cellcam.widgets.buttons import button
from napari_cellcam.widgets.facts_dialog import FACTS_BUTTON, FactsPanel
from napari_cellcam.widgets.labels import ElidedLabel
from napari_cellcam.widgets.look_choice import LookChoice
from napari_cellcam.widgets.model_choice import ModelChoice
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox
from napari_cellcam.widgets.number_field import number_field
from napari_cellcam.widgets.plane_choice import PlaneChoice
from napari_cellcam.widgets.preferences import preference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import napari
    from napari.layers import Image, Layer
    from napari.utils.events import Event
    from pydantic import JsonValue

    from cellcam.models.network_input import NetworkInput
    from napari_cellcam.widgets.device_choice import DeviceChoice

_PREDICTED, _ALL = "the predicted class", "all classes"


class ChoicePanel(QWidget):
    """Model, channels, cells and classes to explain.

    Attributes
    ----------
    sources : choice of a layer for each channel of the model
    draft : a classifier that is not trained yet, instead of a model; None with a model

    Signals
    -------
    changed : a choice that decides which cells are found
    drafted : a new classifier was begun
    failed : an error
    """

    changed = Signal()
    drafted = Signal()
    failed = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.sources: dict[str, QComboBox] = {}
        self.draft: ClassifierDraft | None = None
        self._n_changing = 0
        self._is_scaled = True  # whether the pixel size of the first layer is known
        self._planes_seen: tuple[int, ...] = ()
        self._axes_layer: Image | None = None  # the layer that the text in `axes` is about
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.model = ModelChoice()
        self.model.chosen.connect(self._show_model)
        self.model.failed.connect(self.failed)
        new = button("New...", self.new_classifier, self.model.buttons)
        new.setToolTip("Begin a classifier of your own from the open image, without any model.")
        column.addWidget(self.model)
        self.channels = QFormLayout()
        column.addLayout(self.channels)
        self.facts = FactsPanel()
        self.facts.asked.connect(self._remember_planes)
        self.facts.applied.connect(self._after_facts)
        column.addWidget(self.facts)
        column.addLayout(self._cell_rows())
        for event in layer_list_events(viewer):
            event.connect(self.refresh_layers)

    def release(self) -> None:
        """Disconnect from the viewer."""
        disconnect_layer_list(self.viewer, self.refresh_layers)
        self.device.release()

    @property
    def spec(self) -> NetworkInput | None:
        """What the chosen model, or the draft, sees of a cell."""
        return self.draft or self.model.spec

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

    def new_classifier(self) -> None:
        """Ask what a new classifier sees, and begin it."""
        layers = [layer for layer in self.viewer.layers if not is_result(layer)]
        images = [layer for layer in layers if layer_kind(layer) == "image"]
        if not images:
            self.failed.emit(InputError("Open an image first: its stains and cells are learned."))
            return
        dialog = NewClassifierDialog(images, self._labels_layers(), self)
        if dialog.exec():
            self.begin_draft(dialog.answer())
            self.drafted.emit()

    def begin_draft(self, new: NewClassifier) -> None:
        """Choose a classifier that is not trained yet, with its layers."""
        self.draft = new.draft
        self.model.show_draft(new.draft)
        with self._one_change():
            self._show_channels(new.draft, dict(new.layers))
            offer(self.cells, self._labels_layers(), new.labels, first_item=FIND_CELLS)

    def restore_draft(self, described: dict[str, JsonValue], layers: Mapping[str, str]) -> None:
        """Choose a draft of before, as `opened` described it."""
        draft = TypeAdapter(ClassifierDraft).validate_python(described)
        images = [layer for layer in self.viewer.layers if layer_kind(layer) == "image"]
        by_name = {source_name(source): source for source in channel_sources(images)}
        chosen = {name: by_name[layer] for name, layer in layers.items() if layer in by_name}
        self.begin_draft(NewClassifier(draft, chosen, None))

    def choose_layers(self, names: Mapping[str, str]) -> None:
        """Choose layers by name, as far as they are there."""
        with self._one_change():
            for channel, name in names.items():
                if channel in self.sources and self.sources[channel].findText(name) >= 0:
                    self.sources[channel].setCurrentText(name)

    def opened(self) -> Opened:
        """What is open, for the project."""
        chosen = {name: layer for name, layer in self._chosen().items() if layer is not None}
        paths = [cellcam_metadata(source_layer(s)).get("path", "") for s in chosen.values()]
        draft = self.draft
        return Opened(
            images=[path for path in dict.fromkeys(paths) if path],
            model=self.model_folder if draft is None else "",
            draft=None
            if draft is None
            else TypeAdapter(ClassifierDraft).dump_python(draft, mode="json"),
            layers={name: source_name(source) for name, source in chosen.items()},
            planes=self.planes.wanted or "",
        )

    def keep_draft(self, draft: ClassifierDraft) -> None:
        """Keep what was measured for the draft, for further images."""
        if self.draft is not None:
            self.draft = draft

    def _show_model(self) -> None:
        assert self.model.spec is not None
        self.draft = None
        self._show_channels(self.model.spec, self._chosen())

    def _show_channels(self, spec: NetworkInput, chosen: dict[str, Image | None]) -> None:
        """A choice of a layer for each channel; channels of the same name keep their layers."""
        with self._one_change():
            self._fill_channels(spec, chosen)

    def _fill_channels(self, spec: NetworkInput, chosen: dict[str, Image | None]) -> None:
        while self.channels.rowCount():
            self.channels.removeRow(0)
        self.sources = {name: NarrowComboBox() for name in spec.channels}
        for name, choice in self.sources.items():
            self.channels.addRow(ElidedLabel(name), choice)
            choice.setToolTip(f"The layer that shows {name}.")
            choice.currentIndexChanged.connect(self._suggest_axes)
            choice.currentIndexChanged.connect(self._show_facts)
            choice.currentIndexChanged.connect(self._note_change)
        self.classes.clear()
        self.classes.addItems([_PREDICTED, _ALL, *spec.classes])
        self._offer_layers(chosen)

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """Tell of all changes inside at once, when they are complete."""
        self._n_changing += 1
        try:
            yield
        finally:
            self._n_changing -= 1
            self._note_change()

    def _note_change(self, *_: object) -> None:
        if not self._n_changing:
            self._offer_planes()
            self.changed.emit()

    def _offer_planes(self) -> None:
        """Ask what to do with the planes, if the image has several."""
        first, axes = self._first_image(), self.axes.text().upper()
        has_planes = first is not None and n_planes(first, axes) > 1
        labels = self.cells.currentData()
        labels_have_planes = labels is not None and n_planes(labels, axes) > 1
        self.planes.offer(self.spec, has_planes, labels_have_planes)
        self._planes_title.setVisible(self.planes.is_offered)
        self.planes.setVisible(self.planes.is_offered)
        self.planes.meaning.setVisible(self.planes.is_offered)

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
        layers = self._chosen_layers()
        self._require_pixel_size()
        return LayerChoices(
            layers=layers,
            axes=self.axes.text().upper(),
            model_folder=self.model_folder,
            model=self.model.identity if self.draft is None else _identity(self.draft),
            draft=self.draft,
            request=Request(
                finder=self._chosen_finder() if labels is None else ThresholdFinder(),
                z=self.planes.chosen(),
                classes=self.chosen_classes(),
            ),
            cells=labels,
            device=self.device.chosen(),
        )

    def _require_pixel_size(self) -> None:
        first = self._first_image()
        is_scaled = self.spec is not None and self.spec.pixel_size_um is not None
        if first is None or not is_scaled:
            return
        sizes = layer_pixel_size(first, self.axes.text().upper() or "YX")
        wanted = sizes if self.spec is not None and self.spec.field == "volume" else sizes[1:]
        if None in wanted:
            raise InputError(
                f"The pixel size of {first.name} is unknown, and the model was trained on pixels "
                f"of a known size. Give it with the button {FACTS_BUTTON}"
            )

    def _chosen_finder(self) -> CellFinder:
        options = {
            "channel": self._find_channel(),
            "diameter_um" if self._is_scaled else "diameter": self.diameter.value() or None,
            "threshold": self.threshold.value() or None,
        }
        if self.look_for.chosen() != "auto":
            options["look_for"] = self.look_for.chosen()
        if self._needs_network():
            options["model"] = self.network.text() or None
        given = {name: value for name, value in options.items() if value is not None}
        return make_finder(self.finder.currentText(), given)

    def _needs_network(self) -> bool:
        """Whether the chosen finder is a network in a file."""
        return "model" in finder_options(make_finder(self.finder.currentText(), {}))

    def chosen_classes(self) -> Classes:
        """Classes to explain, see `Request`."""
        chosen = self.classes.currentText()
        words: dict[str, Classes] = {_PREDICTED: "predicted", _ALL: "all"}
        return words.get(chosen, (chosen,))

    def refresh_unit(self) -> None:
        """Follow a change of the pixel size."""
        self._show_unit(self._first_image())

    def refresh_layers(self, _: Event | None = None) -> None:
        """Offer the layers of the viewer; chosen layers stay, new channels are matched by name."""
        with self._one_change():
            self._offer_layers(self._chosen())

    def _offer_layers(self, chosen: dict[str, Image | None]) -> None:
        others = [layer for layer in self.viewer.layers if not is_result(layer)]
        images = [layer for layer in others if layer_kind(layer) == "image"]
        offered = channel_sources(images)
        first_before = self._first_image()
        for name, choice in self.sources.items():
            wanted = chosen.get(name)
            if wanted not in offered:
                wanted = best_match(name, offered, len(self.sources))
            offer(choice, offered, wanted)
        offer(self.cells, self._labels_layers(), self.cells.currentData(), first_item=FIND_CELLS)
        if self._first_image() is not first_before:
            self._suggest_axes()
            self._note_change()
        self._show_facts()

    def _labels_layers(self) -> list[Layer]:
        """Labels layers, and images whose whole numbers lie in patches."""
        layers = [layer for layer in self.viewer.layers if not is_result(layer)]
        labels = [layer for layer in layers if layer_kind(layer) == "labels"]
        return [*labels, *filter(image_could_be_labels, layers)]

    def _show_facts(self) -> None:
        """Say what is unknown about the chosen layers."""
        chosen = [source_layer(source) for source in self._chosen().values() if source is not None]
        images = [n for n in self.viewer.layers if layer_kind(n) == "image" and not is_result(n)]
        self.facts.show_layers(chosen or images[:1], self.viewer.layers)

    def _remember_planes(self) -> None:
        self._planes_seen = self.viewer.dims.current_step

    def _after_facts(self) -> None:
        """Follow facts that were written to the layers; the same planes stay in view."""
        self.viewer.reset_view()
        for axis, step in enumerate(self._planes_seen):
            self.viewer.dims.set_current_step(axis, step)
        self._axes_layer = None
        self.refresh_unit()
        self._suggest_axes()
        self._note_change()

    def _suggest_axes(self) -> None:
        """Fill in the axes of another first layer; what the user wrote for the same layer stays."""
        first = self._first_image()
        if first is not self._axes_layer:
            self._axes_layer = first
            self.axes.setText(layer_axes(first) if first is not None else "")
            self._show_unit(first)

    def _cell_rows(self) -> QFormLayout:
        form = QFormLayout()
        self.axes = QLineEdit()
        self.axes.setToolTip("Meaning of the axes of the images: T time, Z depth, then YX.")
        self.planes = PlaneChoice()
        self.cells = NarrowComboBox()
        self.finder = NarrowComboBox()
        self.finder.addItems(finder_names())
        self.finder.setCurrentText(ThresholdFinder.name)
        self.network = QLineEdit()
        self.network.setPlaceholderText("file of the network, such as cpsam_v2")
        self.diameter = number_field(1000, "as the model says", " um")
        self.threshold = number_field(2**32, "auto")
        self.threshold.setToolTip("Intensity beyond which a pixel of the channel is cell.")
        self.threshold.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.preview = QCheckBox("Preview")
        self.preview.setToolTip("Outline the cells that would be found in the plane you see.")
        row = QHBoxLayout()
        row.addWidget(self.threshold, 1)
        row.addWidget(self.preview)
        self.look_for = LookChoice()
        self.classes = NarrowComboBox()
        self.axes.textChanged.connect(self._note_change)
        form.addRow("Axes", self.axes)
        self._planes_title = QLabel("Planes")
        form.addRow(self._planes_title, self.planes)
        form.addRow(self.planes.meaning)
        form.addRow("Cells", self.cells)
        if self.finder.count() > 1:
            form.addRow("Found by", self.finder)
            form.addRow("Network", self.network)
            show = partial(form.setRowVisible, self.network)
            self.finder.currentIndexChanged.connect(lambda _: show(self._needs_network()))
            show(self._needs_network())
            self.network.editingFinished.connect(self._note_change)
        form.addRow("Look for", self.look_for)
        form.addRow("Diameter", self.diameter)
        form.addRow("Threshold", row)
        form.addRow("Explain", self.classes)
        self.preview.setChecked(bool(preference("preview")))
        self.preview.toggled.connect(self._note_change)
        for field in (self.diameter, self.threshold):
            field.valueChanged.connect(self._note_change)
        for choice in (self.cells, self.finder, self.look_for):
            choice.currentIndexChanged.connect(self._note_change)
        self.planes.changed.connect(self._note_change)
        return form

    def _first_image(self) -> Image | None:
        chosen = (choice.currentData() for choice in self.sources.values())
        return next((source_layer(source) for source in chosen if source), None)

    def _show_unit(self, first: Image | None) -> None:
        """Give the diameter in um, or in pixels where the image's pixel size is unknown."""
        self._is_scaled = (
            first is None or None not in layer_pixel_size(first, layer_axes(first))[1:]
        )
        self.diameter.setSuffix(" um" if self._is_scaled else " pixels")

    def _chosen(self) -> dict[str, Image | ColourSample | None]:
        return {name: choice.currentData() for name, choice in self.sources.items()}

    def _chosen_layers(self) -> dict[str, Image | ColourSample]:
        chosen = {name: layer for name, layer in self._chosen().items() if layer is not None}
        missing = [name for name in self.sources if name not in chosen]
        if missing:
            raise InputError(
                f"No image layer was chosen for {', '.join(missing)}, which the model needs. Open "
                "the image, or choose its layer beside the channel's name. For a classifier of "
                "your own stains, press New..."
            )
        return chosen

    def _find_channel(self) -> str | None:
        """Channel in which cells are found; None if the model or the picture says it."""
        if self.look_for.chosen() == "hematoxylin":
            return as_one_text([*self.sources][:3])
        finding = self.spec is not None and self.spec.finding
        is_named = finding and finding.channel in self.sources
        if is_named or is_picture(self._chosen().values()):
            return None
        return next(iter(self.sources), None)


def _identity(draft: ClassifierDraft) -> str:
    """What a draft is, whatever is measured or named later."""
    return f"new classifier of {', '.join(draft.channels)}, {draft.field}, {draft.finding}"
