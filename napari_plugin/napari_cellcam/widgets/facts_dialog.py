"""Dialogs that ask for facts about an image which its file does not state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cellcam.names import joined_names, split_names
from napari_cellcam.layers.channel_sources import layer_shape
from napari_cellcam.layers.layer_facts import (
    apply_facts,
    facts_of_layers,
    layers_on_the_same_pixels,
)
from napari_cellcam.layers.stack_from_layers import layer_axes
from napari_cellcam.state.image_facts import (
    AXES,
    CHANNELS,
    PIXEL_SIZE,
    TIME_STEP,
    Z_STEP,
    Fact,
    ImageFacts,
    what_is_wrong_with_axes,
    what_is_wrong_with_channels,
)

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from cellcam.stacks.image_file import StatedImage

_MISSING = "#C77700"  # a colour that is seen on dark and on light
_WRONG = "#D55E00"
_ANY_AXES = "TCZYXS"
_LAYER_AXES = "TZYX"
FACTS_BUTTON = "Image facts..."


class FactsForm(QWidget):
    """A field for each fact; unknown facts are highlighted and explained.

    Parameters
    ----------
    shape : of the image, one number for each axis
    stated : facts that are known
    letters : axes that can be chosen from; those of a file contain C
    n_channels : channels of open layers; None: as many as the axis C or S has
    guess : axes to begin with where they are unknown

    Signals
    -------
    changed : an entry
    """

    changed = Signal()

    def __init__(
        self,
        shape: Sequence[int],
        stated: ImageFacts,
        letters: str = _ANY_AXES,
        n_channels: int | None = None,
        guess: str = "",
    ) -> None:
        super().__init__()
        self._shape, self._letters, self._n_channels = tuple(shape), letters, n_channels
        self._rows: dict[Fact, tuple[QWidget, QLabel, QLabel]] = {}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Size", QLabel(" x ".join(map(str, shape))))
        self.axes = QLineEdit(stated.axes or guess)
        self.axes.setPlaceholderText("one letter for each number above")
        self.channels = QLineEdit(joined_names(stated.channels, ", "))
        self.channels.setPlaceholderText("numbered, if you leave this empty")
        self.pixel_y, self.pixel_x = (_length(size) for size in stated.pixel_size_um)
        self.z_step = _length(stated.z_step_um)
        self.time_step = _length(stated.time_step_s, " s")
        self._add_row(form, AXES, "Axes", self.axes)
        self._add_row(form, CHANNELS, "Channel names", self.channels)
        self._add_row(
            form, PIXEL_SIZE, "Pixel size y, x", _side_by_side(self.pixel_y, self.pixel_x)
        )
        self._add_row(form, Z_STEP, "Z step", self.z_step)
        self._add_row(form, TIME_STEP, "Time step", self.time_step)
        for text in (self.axes, self.channels):
            text.textChanged.connect(self._check)
        for number in (self.pixel_y, self.pixel_x, self.z_step, self.time_step):
            number.valueChanged.connect(self._check)
        # Pixels are square unless both numbers are given.
        self._is_square = self.pixel_y.value() == self.pixel_x.value()
        self.pixel_y.valueChanged.connect(self._follow_y)
        self._check()

    def facts(self) -> ImageFacts:
        """What the fields say."""
        axes = self._axes()
        return ImageFacts(
            axes=axes,
            pixel_size_um=(self.pixel_y.value() or None, self.pixel_x.value() or None),
            z_step_um=(self.z_step.value() or None) if "Z" in axes else None,
            time_step_s=(self.time_step.value() or None) if "T" in axes else None,
            channels=self._names(),
        )

    def problem(self) -> str:
        """Why the entries cannot be used, in one sentence; empty if they can."""
        axes = self._axes()
        if not axes:
            return "Write what the axes mean."
        wrong = what_is_wrong_with_axes(axes, len(self._shape), self._letters)
        return wrong or what_is_wrong_with_channels(self._names(), self._count_channels())

    def _axes(self) -> str:
        return self.axes.text().strip().upper()

    def _names(self) -> tuple[str, ...]:
        return split_names(self.channels.text())

    def _count_channels(self) -> int:
        if self._n_channels is not None:
            return self._n_channels
        sizes = dict(zip(self._axes(), self._shape, strict=False))
        return sizes.get("C", sizes.get("S", 1))

    def _check(self, _: object = None) -> None:
        missing = self.facts().missing_facts()
        axes = self._axes()
        shown = {Z_STEP: "Z" in axes, TIME_STEP: "T" in axes}
        for fact, (field, name, about) in self._rows.items():
            is_missing = fact in missing
            for part in (field, name):
                part.setVisible(shown.get(fact, True))
            about.setVisible(is_missing and shown.get(fact, True))
            name.setStyleSheet(f"color: {_MISSING}; font-weight: bold" if is_missing else "")
        self.changed.emit()

    def _follow_y(self, size: float) -> None:
        if self._is_square and not self.pixel_x.hasFocus():
            self.pixel_x.setValue(size)

    def _add_row(self, form: QFormLayout, fact: Fact, title: str, field: QWidget) -> None:
        name, about = QLabel(title), QLabel(fact.meaning)
        about.setWordWrap(True)
        about.setStyleSheet(f"color: {_MISSING}")
        field.setToolTip(fact.meaning)
        form.addRow(name, field)
        form.addRow(about)
        self._rows[fact] = (field, name, about)


class FileFactsDialog(QDialog):
    """Asks for what is needed to open a file; `answer` holds what was said.

    Parameters
    ----------
    file : path
    images : what the file states about each of its images, by their number
    """

    def __init__(
        self, file: str, images: Mapping[int, StatedImage], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent or QApplication.activeWindow())
        self.setWindowTitle(f"Facts about {Path(file).name}")
        self._images = dict(images)
        column = QVBoxLayout(self)
        column.addWidget(_text("The file does not say all that is needed to open it."))
        self.series = QComboBox()
        for number, image in self._images.items():
            size = " x ".join(map(str, image.shape))
            self.series.addItem(f"{number + 1} of {max(images) + 1}: {size}", number)
        self.series.setToolTip("The file holds several images; each can be opened by itself.")
        choice = QFormLayout()
        choice.addRow("Image", self.series)
        self.series.currentIndexChanged.connect(self._show_image)
        if len(self._images) > 1:
            column.addLayout(choice)
        self._place = QVBoxLayout()
        column.addLayout(self._place)
        self._problem, self._buttons = _problem_and_buttons(self, column, "Open")
        self.form: FactsForm
        self._show_image()
        self.setMinimumWidth(480)

    def answer(self) -> tuple[int | None, ImageFacts]:
        """Number of the image where the file holds several, and the facts about it."""
        number = self.series.currentData()
        return (number if len(self._images) > 1 or number else None), self.form.facts()

    def show_problem(self, problem: str) -> None:
        """Say why the file could not be opened."""
        self._problem.setText(problem)

    def _show_image(self, _: int = 0) -> None:
        """Ask about the chosen image."""
        image = self._images[self.series.currentData()]
        while self._place.count():
            old = self._place.takeAt(0).widget()
            old.hide()
            old.deleteLater()
        self.form = FactsForm(image.shape, _stated_facts(image))
        self.form.changed.connect(self._check)
        self._place.addWidget(self.form)
        self._check()

    def _check(self) -> None:
        problem = self.form.problem()
        self._problem.setText(problem)
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not problem)


class LayerFactsDialog(QDialog):
    """Asks for facts about layers that are open, and writes them to the layers.

    Parameters
    ----------
    layers : the channels of one image
    others : layers to write the scale to as well, if they lie on the same pixels
    """

    def __init__(
        self, layers: Sequence[Image], others: Sequence[Layer] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Image facts")
        self._layers = list(dict.fromkeys(layers))
        first = self._layers[0]
        alike = layers_on_the_same_pixels(first, others)
        known = {layer.unique_id for layer in self._layers}
        self._also = [layer for layer in alike if layer.unique_id not in known]
        column = QVBoxLayout(self)
        names = ", ".join(layer.name for layer in self._layers)
        column.addWidget(_text(f"Facts about {names}. They are kept by the layers themselves."))
        stated = facts_of_layers(self._layers)
        n = 1 if getattr(first, "rgb", False) else len(self._layers)
        self.form = FactsForm(layer_shape(first), stated, _LAYER_AXES, n, layer_axes(first))
        column.addWidget(self.form)
        if self._also:
            listed = ", ".join(layer.name for layer in self._also)
            column.addWidget(_text(f"The same scale is given to {listed}, on the same pixels."))
        self._problem, self._buttons = _problem_and_buttons(self, column, "Apply")
        self.form.changed.connect(self._check)
        self._check()
        self.setMinimumWidth(480)

    def accept(self) -> None:
        """Write the facts to the layers."""
        apply_facts(self.form.facts(), self._layers, self._also)
        super().accept()

    def _check(self) -> None:
        problem = self.form.problem()
        self._problem.setText(problem)
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not problem)


class FactsPanel(QWidget):
    """Says which facts about the chosen layers are unknown; a button asks for them.

    Signals
    -------
    asked : the facts are going to be asked for
    applied : facts were written to the layers
    """

    asked = Signal()
    applied = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers: list[Image] = []
        self._others: list[Layer] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.about = _text("")
        row.addWidget(self.about, 1)
        self.button = QPushButton(FACTS_BUTTON)
        self.button.setToolTip("Pixel size, steps, axes and names of the chosen layers.")
        self.button.clicked.connect(self.ask)
        row.addWidget(self.button)
        self.show_layers((), ())

    def show_layers(self, layers: Sequence[Image], others: Sequence[Layer]) -> None:
        """Follow the choice of layers.

        Parameters
        ----------
        layers : layers of the channels of the image
        others : all layers of the viewer
        """
        self._layers, self._others = list(dict.fromkeys(layers)), list(others)
        self.button.setEnabled(bool(self._layers))
        if not self._layers:
            self.about.setText("")
            return
        facts = facts_of_layers(self._layers)
        unknown = [fact.name for fact in facts.missing_facts() if fact is not CHANNELS]
        self.about.setText(f"Unknown: {', '.join(unknown)}" if unknown else _summary(facts))
        self.about.setStyleSheet(f"color: {_MISSING}" if unknown else "")

    def ask(self) -> None:
        """Ask for the facts and write them to the layers."""
        self.asked.emit()
        if LayerFactsDialog(self._layers, self._others, self).exec():
            self.show_layers(self._layers, self._others)
            self.applied.emit()


def _summary(facts: ImageFacts) -> str:
    y, x = facts.pixel_size_um
    edges = f"{y:g} um" if y == x else f"{y:g} x {x:g} um"
    steps = [
        f"z step {facts.z_step_um:g} um" if facts.z_step_um else "",
        f"time step {facts.time_step_s:g} s" if facts.time_step_s else "",
    ]
    return ", ".join(filter(None, [f"Pixel size {edges}", *steps]))


def _stated_facts(image: StatedImage) -> ImageFacts:
    metadata = image.metadata
    z, y, x = metadata.pixel_size_um
    channels = tuple(name for name in metadata.channels if name)
    is_known = set(image.axes) <= set(_ANY_AXES)
    return ImageFacts(
        axes=image.axes if is_known else "",
        pixel_size_um=(y, x),
        z_step_um=z,
        time_step_s=metadata.time_step_s,
        channels=channels if len(set(channels)) == len(channels) else (),
    )


def _problem_and_buttons(
    dialog: QDialog, column: QVBoxLayout, accept: str
) -> tuple[QLabel, QDialogButtonBox]:
    """A line for what is wrong, and the buttons below it."""
    problem = _text("")
    problem.setStyleSheet(f"color: {_WRONG}")
    column.addWidget(problem)
    standard = QDialogButtonBox.StandardButton
    buttons = QDialogButtonBox(standard.Ok | standard.Cancel)
    buttons.button(standard.Ok).setText(accept)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    column.addWidget(buttons)
    return problem, buttons


class _Number(QDoubleSpinBox):
    """A number without the zeros at its end."""

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt's name
        return self.locale().toString(value, "g", 7)


def _length(value: float | None, unit: str = " um") -> QDoubleSpinBox:
    """A field for a positive number; 0 means unknown."""
    field = _Number()
    field.setDecimals(6)
    field.setRange(0, 1e6)
    field.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    field.setSuffix(unit)
    field.setSpecialValueText("unknown")
    field.setValue(value or 0)
    return field


def _side_by_side(*fields: QWidget) -> QWidget:
    together = QWidget()
    row = QHBoxLayout(together)
    row.setContentsMargins(0, 0, 0, 0)
    for field in fields:
        row.addWidget(field)
    return together


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
