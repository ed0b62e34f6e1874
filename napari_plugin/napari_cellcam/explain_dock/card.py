"""The card of one cell, panel by panel. A new panel: one class here, and a line in `PANELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from cellcam.reporting.colours import (
    AGAINST,
    FOR,
    difference_picture,
    under_importance_on_card,
)
from napari_cellcam.explain_dock.card_export import CardExport
from napari_cellcam.widgets.charts import Bars, Pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellcam.state.cell_card import CellCard

_NOTHING_YET = "Click a cell to see its class, and the evidence for it."
_LARGE, _SMALL = 148, 72  # screen pixels of a picture
_DIM = 0.45  # of a cell under a map


class CardPanel(Protocol):
    """One part of the card, and a `QWidget`."""

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Show one cell, explained or not yet (``card.maps`` is empty).

        The height must be the same in both cases: nothing may jump under the mouse.

        Parameters
        ----------
        colours : of the classes
        """

    def setVisible(self, visible: bool) -> None:  # noqa: N802, D102 - Qt's name
        ...


class TextPanel(QLabel):
    """Wrapped text."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)


class Headline(TextPanel):
    """Class, probability and number of the cell, and doubts about it."""

    def __init__(self) -> None:
        super().__init__(_NOTHING_YET)

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        doubts = f" Doubts: {card.flags.replace(';', ', ')}." if card.flags else ""
        self.setText(
            f"<b style='font-size: large'>{card.predicted}</b>, {card.probability:.0%}. "
            f"Cell {card.label}.{doubts}"
        )


class Why(Pictures):
    """The cell, and beside it what speaks for its class rather than another."""

    def __init__(self) -> None:
        super().__init__(_LARGE, 2)
        self.setToolTip(
            "Left the cell in the colours of its stains. Right what the network's decision between "
            "the two classes rests on."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        cell = _composite(card)
        why = card.difference
        signed = np.zeros(cell.shape[:2], np.float32) if why is None else _scaled(why.map)
        self.show_pictures(
            [
                ("the cell", cell),
                (f"why {card.predicted}", _under_difference(cell, signed)),
            ]
        )


class Sentence(TextPanel):
    """Why this and not that, in words."""

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.setText(why_text(card))
        self.setMinimumHeight(4 * self.fontMetrics().lineSpacing())


class StainMaps(Pictures):
    """What each stain contributes to the difference."""

    def __init__(self) -> None:
        super().__init__(_SMALL, 4)
        self.setToolTip("The same difference, with one stain moving alone from background to cell.")

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        cell = _composite(card)
        maps = {} if card.difference is None else card.difference.stain_maps
        nothing = np.zeros(cell.shape[:2], np.float32)
        largest = max((float(np.abs(image).max()) for image in maps.values()), default=0) or 1.0
        self.show_pictures(
            [
                (f"by {name}", _under_difference(cell, maps.get(name, nothing) / largest))
                for name in card.channels
            ]
        )


class StainLosses(Bars):
    """How much the lead of the call falls without each stain."""

    def __init__(self) -> None:
        super().__init__("{:+.2f}", "The lead falls without the stain by")
        self.setToolTip(
            "The lead is the called class's score less the other's. A negative number: the stain "
            "speaks for the other class."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        why = card.difference
        self.show_values(dict.fromkeys(card.channels, 0.0) if why is None else why.stain_losses, {})


class ClassMaps(Pictures):
    """What speaks for each class by itself, most probable first."""

    def __init__(self) -> None:
        super().__init__(_SMALL, 4)
        self.setToolTip(
            "What speaks for each class by itself, all on one scale. Several classes can have "
            "evidence in one cell; the picture above says what decided between two of them."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        cell = _composite(card)
        largest = max((float(image.max()) for image in card.maps.values()), default=0) or 1.0
        names = sorted(card.probabilities, key=card.probabilities.__getitem__, reverse=True)
        nothing = np.zeros(cell.shape[:2], np.float32)
        maps = [(f"for {name}", card.maps.get(name, nothing) / largest) for name in names]
        self.show_pictures([(name, _under_map(cell, image)) for name, image in maps])


class Probabilities(Bars):
    """Calibrated probability of each class."""

    def __init__(self) -> None:
        super().__init__("{:.0%}", "Probability")

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.show_values(card.probabilities, colours)


class Exactness(TextPanel):
    """Estimated error of the maps."""

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        why = card.difference
        if why is None:
            self.setText("Explaining...")
            return
        self.setText(
            f"Estimated error: {why.error:.0%} of the difference map, {card.error:.0%} of the "
            "strongest class map."
        )


# From top to bottom. Before the first click only the headline is shown.
PANELS: tuple[type[CardPanel], ...] = (
    Headline,
    Why,
    Sentence,
    StainLosses,
    StainMaps,
    Probabilities,
    ClassMaps,
    Exactness,
)


class CellCardView(QWidget):
    """Shows one `CellCard` after the other.

    Its panels stay and get new contents: with new panels the whole window would be laid out and
    drawn again, which takes longer than the card.

    Signals
    -------
    compared : class that the call shall be compared with
    """

    compared = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.shown: CellCard | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._content = QWidget()
        inner = QVBoxLayout(self._content)
        inner.setContentsMargins(4, 4, 4, 4)
        self._panels = [panel() for panel in PANELS]
        for panel in self._panels:
            inner.addWidget(panel)
            panel.setVisible(isinstance(panel, Headline))
        column.addWidget(self._content)
        row = QHBoxLayout()
        self._other = QComboBox()
        self._other.setToolTip("The class to compare the call with.")
        self._other.activated.connect(lambda _: self.compared.emit(self._other.currentText()))
        self._versus = QLabel("rather than")
        row.addWidget(self._versus)
        row.addWidget(self._other, 1)
        self.export = CardExport(self._content, lambda: self.shown)
        row.addWidget(self.export)
        column.addLayout(row)
        self._tools = (self._versus, self._other, self.export)
        column.addStretch()
        self.clear()

    def clear(self) -> None:
        """Show no cell."""
        self.shown = None
        for panel in self._panels:
            panel.setVisible(isinstance(panel, Headline))
            if isinstance(panel, Headline):
                panel.setText(_NOTHING_YET)
        for tool in self._tools:
            tool.setVisible(False)

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Draw a card; ``colours`` are those of the classes."""
        self.shown = card
        for panel in self._panels:
            panel.show_card(card, colours)
        self._offer_classes(card)
        for widget in (*self._panels, *self._tools):
            widget.setVisible(True)

    def _offer_classes(self, card: CellCard) -> None:
        names = [name for name in card.probabilities if name != card.predicted]
        if [self._other.itemText(i) for i in range(self._other.count())] != names:
            self._other.clear()
            self._other.addItems(names)
        why = card.difference
        self._other.setCurrentText(card.runner_up if why is None else why.rather_than)


def why_text(card: CellCard) -> str:
    """Why a cell has its class and not another, in words made of the card's numbers."""
    why = card.difference
    if why is None:
        return "Explaining..."
    other, share = why.rather_than, card.probabilities[why.rather_than]
    stain, loss = max(why.stain_losses.items(), key=lambda item: item[1])
    text = (
        f"{card.predicted} ({card.probability:.0%}) rather than {other} ({share:.0%}): "
        f"<span style='color:{FOR}'>orange</span> speaks for {card.predicted}, "
        f"<span style='color:{AGAINST}'>blue</span> for {other}. "
    )
    if loss <= 0:
        return f"{text}No single stain carries it: without any of them the lead does not fall."
    left = why.lead - loss
    outcome = f"falls from {why.lead:.1f} to {left:.1f}"
    if left < 0:
        outcome += f", so that {other} would win"
    return f"{text}Mostly {stain}: without it the lead of {card.predicted} {outcome}."


def _composite(card: CellCard) -> NDArray[np.float32]:
    from cellcam.reporting.cell_pictures import composite_image

    return composite_image(card.crop)


def _scaled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image / (float(np.abs(image).max()) or 1.0)


def _under_difference(
    cell: NDArray[np.float32], difference: NDArray[np.float32]
) -> NDArray[np.float32]:
    return difference_picture(_DIM * cell.mean(axis=2, keepdims=True), difference)


def _under_map(cell: NDArray[np.float32], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey cell under its importance in yellow and red; without importance it stays grey."""
    grey = np.repeat(_DIM * cell.mean(axis=2, keepdims=True), 3, axis=2)
    return under_importance_on_card(grey, importance)
