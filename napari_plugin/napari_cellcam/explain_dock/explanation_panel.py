"""How cells are explained: formula, baseline, layer and integration, under a folded heading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellcam.state.explanation_choices import (
    ADAPTIVE,
    BASELINES,
    FIXED,
    FORMULAS,
    OF_DIFFERENCES,
    ExplanationChoices,
)
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox

if TYPE_CHECKING:
    from cellcam.models.spec import ModelSpec

_HEADING = "How to explain"
_USUAL = " (model)"
_TO_ERROR, _FIXED_STEPS = "to an error", "the paper's sum"
_NUMBER = 122  # screen pixels
_STEPS, _MOST_STEPS = 20, 1000  # 20: as in the paper


class ExplanationPanel(QWidget):
    """Choices of the explanation, which begin as the model says. Each says what it means.

    Signals
    -------
    changed : cells are to be explained in another way
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._spec: ModelSpec | None = None
        self._identity = ""
        # Choices and layers of the models that were chosen before.
        self._remembered: dict[str, ExplanationChoices] = {}
        self._layers: dict[str, Mapping[str, tuple[int, ...]]] = {}
        self._is_filling = False
        self.heading = QToolButton()
        self.heading.setCheckable(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setToolTip("Formula, baseline, layer and exactness of the explanations.")
        self._content = QWidget()
        self.heading.toggled.connect(self._unfold)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.heading)
        column.addWidget(self._content)
        self._build(QFormLayout(self._content))
        self._unfold(False)
        self.setVisible(False)

    def choices(self) -> ExplanationChoices:
        """The present choices."""
        return self._remembered.get(self._identity, ExplanationChoices())

    def show_model(self, identity: str, spec: ModelSpec | None) -> None:
        """Offer choices for a model, beginning with those of before; None: there is no model."""
        if identity == self._identity and spec is self._spec:
            return
        self._identity, self._spec = identity, spec
        self.setVisible(spec is not None)
        self._fill()

    def show_layers(self, layers: Mapping[str, tuple[int, ...]]) -> None:
        """Offer the layers of the model, see `CellModel.layers`."""
        self._layers[self._identity] = layers
        self._fill()

    def choose(self, choices: ExplanationChoices) -> None:
        """Explain in this way, with the model that is shown."""
        if choices != self.choices():
            self._remembered[self._identity] = choices
            self._fill()
            self.changed.emit()

    def reset(self) -> None:
        """Explain as the model says."""
        self.choose(ExplanationChoices())

    def _build(self, form: QFormLayout) -> None:
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(2)
        self.formula = _add_choice(form, "Formula", "How evidence is shared out over the places.")
        self.baseline = _add_choice(form, "Baseline", "The image that the cell is compared with.")
        self.layer = _add_choice(form, "Layer", "Where in the network the evidence is read.")
        self.integration = _Choice()
        self.integration.setToolTip("How many points between baseline and cell are looked at.")
        self.error, self.steps = QDoubleSpinBox(), QSpinBox()
        self.error.setRange(0.1, 50)
        self.error.setDecimals(1)
        self.error.setSuffix(" %")
        self.error.setToolTip("Estimated error of a cell's strongest map, relative to that map.")
        self.steps.setRange(1, _MOST_STEPS)
        self.steps.setValue(_STEPS)
        self.steps.setSuffix(" steps")
        self.steps.setToolTip("Points of the sum; the paper takes 20.")
        self._amount = QStackedWidget()
        self._amount.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._amount.setFixedWidth(_NUMBER)
        for number in (self.error, self.steps):
            number.setKeyboardTracking(False)  # a half-written number is no choice
            number.valueChanged.connect(self._choose)
            self._amount.addWidget(number)
        form.addRow("Integral", self.integration)
        form.addRow("", self._amount)
        form.addRow(self.integration.sentence)
        self.back = QPushButton("As the model says")
        self.back.setToolTip("Take all of these choices back.")
        self.back.clicked.connect(self.reset)
        form.addRow(_sentence(OF_DIFFERENCES))
        form.addRow("", self.back)
        for choice in (self.formula, self.baseline, self.layer, self.integration):
            choice.currentIndexChanged.connect(self._choose)

    def _fill(self) -> None:
        """Show the choices for the model."""
        if self._spec is None:
            return
        self._is_filling = True
        spec, now = self._spec, self.choices()
        unlisted: dict[str, tuple[int, ...]] = {now.layer or spec.target_layer: ()}
        layers = self._layers.get(self._identity, {spec.target_layer: (), **unlisted})
        _offer(self.formula, FORMULAS, spec.formula, now.formula)
        _offer(self.baseline, BASELINES, spec.baseline, now.baseline)
        about = {name: _about_layer(shape, spec.crop_size) for name, shape in layers.items()}
        _offer(self.layer, about, spec.target_layer, now.layer)
        sums = {_TO_ERROR: ADAPTIVE, _FIXED_STEPS: FIXED}
        chosen = _FIXED_STEPS if now.n_steps else None
        _offer(self.integration, sums, _TO_ERROR, chosen, usual="")
        self.error.setValue(100 * now.rtol)
        if now.n_steps:
            self.steps.setValue(now.n_steps)
        self._is_filling = False
        self._say()

    def _choose(self, _: object = None) -> None:
        if self._is_filling or self._spec is None:
            return
        before = self.choices()
        is_fixed = self.integration.currentData()[0] == _FIXED_STEPS
        self._remembered[self._identity] = ExplanationChoices(
            formula=_unusual(self.formula),
            baseline=_unusual(self.baseline),
            layer=_unusual(self.layer),
            n_steps=self.steps.value() if is_fixed else None,
            rtol=round(self.error.value() / 100, 4),
        )
        self._say()
        if self.choices() != before:
            self.changed.emit()

    def _say(self) -> None:
        """Say what the choices mean, and whether they are the model's."""
        for choice in (self.formula, self.baseline, self.layer, self.integration):
            choice.sentence.setText(choice.currentData()[2])
        is_fixed = self.integration.currentData()[0] == _FIXED_STEPS
        self._amount.setCurrentWidget(self.steps if is_fixed else self.error)
        is_usual = self.choices() == ExplanationChoices()
        self.heading.setText(_HEADING if is_usual else f"{_HEADING} (not as the model says)")
        self.back.setEnabled(not is_usual)

    def _unfold(self, is_open: bool) -> None:
        self._content.setVisible(is_open)
        arrows = Qt.ArrowType
        self.heading.setArrowType(arrows.DownArrow if is_open else arrows.RightArrow)


class _Choice(NarrowComboBox):
    """A combo box; beneath it the sentence about what is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.sentence = _sentence()


def _add_choice(form: QFormLayout, name: str, tooltip: str) -> _Choice:
    choice = _Choice()
    choice.setToolTip(tooltip)
    form.addRow(name, choice)
    form.addRow(choice.sentence)
    return choice


def _offer(
    choice: _Choice,
    sentences: Mapping[str, str],
    model_has: str,
    chosen: str | None,
    usual: str = _USUAL,
) -> None:
    """Fill a choice; the data of an entry are its value, None where it is the model's, and both."""
    choice.clear()
    for value, sentence in sentences.items():
        is_usual = value == model_has
        choice.addItem(value + usual * is_usual, (value, None if is_usual else value, sentence))
        choice.setItemData(choice.count() - 1, sentence, Qt.ItemDataRole.ToolTipRole)
        if value == (chosen or model_has):
            choice.setCurrentIndex(choice.count() - 1)


def _unusual(choice: _Choice) -> str | None:
    """What is chosen, or None where it is what the model says."""
    value: str | None = choice.currentData()[1]
    return value


def _about_layer(shape: tuple[int, ...], crop_size: tuple[int, ...]) -> str:
    if not shape:
        return "The layers of the network are listed once cells are classified."
    places = " x ".join(map(str, shape))
    pixels = crop_size[-1] / shape[-1]
    size = "a pixel" if pixels == 1 else f"{pixels:.2g} pixels"
    where = f"{places} places in a crop, each of {size}. "
    if pixels <= 2:
        return where + "Early: it shows well where, and knows little of the whole cell."
    return where + "Late: it knows more of the whole cell, and shows less well where."


def _sentence(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setMinimumWidth(1)  # Qt would keep long sentences wider than the dock
    label.setStyleSheet("font-style: italic")
    return label
