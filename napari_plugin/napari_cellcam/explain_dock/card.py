"""The card of one cell, panel by panel. A new panel: one class here, and a line in `PANELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from cellcam.reporting.colours import AGAINST, CHANNELS, FOR, difference_on_cell
from napari_cellcam.explain_dock.card_export import CardExport
from napari_cellcam.widgets.charts import Bars, DifferenceBar, Pictures
from napari_cellcam.widgets.labels import WrappedLabel
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellcam.state.cell_card import CellCard

_NOTHING_YET = "Click a cell to see its class, and the evidence for it."
_LARGE, _SMALL = 160, 76  # screen pixels of the pictures


class CardPanel(Protocol):
    """One part of the card, and a `QWidget`."""

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Show one cell, explained or not yet (``card.difference`` is None).

        The height must be the same in both cases: nothing may jump under the mouse.

        Parameters
        ----------
        colours : of the classes
        """

    def setVisible(self, visible: bool) -> None:  # noqa: N802, D102 - Qt's name
        ...


class Headline(WrappedLabel):
    """Class, probability and number of the cell, and doubts about it."""

    def __init__(self) -> None:
        super().__init__(_NOTHING_YET)
        self.setToolTip("The most probable class, its calibrated probability, and doubts.")

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        doubts = f" Doubts: {card.flags.replace(';', ', ')}." if card.flags else ""
        if not card.predicted:
            self.setText(f"<b style='font-size: large'>No call</b>. Cell {card.label}.{doubts}")
            return
        self.setText(
            f"<b style='font-size: large'>{card.predicted}</b>, {_percent(card.probability)}. "
            f"Cell {card.label}.{doubts}"
        )


class Why(QWidget):
    """What speaks for the class of a cell rather than another, large; beside it the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.question = WrappedLabel()
        self.question.setToolTip("Another class to compare with can be chosen above.")
        self.difference, self.cell = Pictures(_LARGE, 1), Pictures(_SMALL, 1)
        self.difference.setToolTip("Where the decision between the two classes was made.")
        self.cell.setToolTip("The cell in the colours of its stains.")
        self.stains = QLabel()
        self.stains.setToolTip("The stains, in the colours that they have in the picture.")
        self.stains.setMaximumWidth(_SMALL)
        beside = QVBoxLayout()
        beside.setContentsMargins(0, 0, 0, 0)
        beside.addWidget(self.cell)
        beside.addWidget(self.stains)
        beside.addStretch()
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.difference)
        row.addLayout(beside, 1)
        self.bar = DifferenceBar()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.question)
        column.addLayout(row)
        column.addWidget(self.bar)

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        cell, why = _composite(card), card.difference
        self.cell.show_pictures([("The cell", cell)])
        self.stains.setText("<br>".join(_in_its_colour(card.channels)))
        for widget in (self.difference, self.bar):
            widget.setVisible(bool(card.predicted))
        if not card.predicted:
            self.question.setText(card.why_no_call)
            return
        image = _nothing(card) if why is None else why.map
        other = card.runner_up if why is None else why.rather_than
        largest = _largest([image])
        self.question.setText(f"Why <b>{card.predicted}</b> rather than <b>{other}</b>?")
        self.difference.show_pictures([("", difference_on_cell(cell, image / largest))])
        is_empty = why is None or not why.map.any()
        self.bar.show_scale(card.predicted, other, 0.0 if is_empty else largest)


class Sentence(WrappedLabel):
    """Why this and not that, in words."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "The lead is the score of the called class less that of the other, before softmax. A "
            "stain is taken away by replacing it with background."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.setText(why_text(card))
        self.setMinimumHeight(4 * self.fontMetrics().lineSpacing())


class StainMaps(Pictures):
    """What each stain contributes to the lead, in place and in number; empty for a single stain."""

    def __init__(self) -> None:
        super().__init__(_SMALL, 3, "By stain, and what the lead loses without it")
        self.setToolTip(
            "The same difference, with one stain moving alone from background to cell. Negative: "
            "the stain speaks for the other class. All on one scale."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        names = card.channels if len(card.channels) > 1 else ()
        cell, why = _composite(card), card.difference
        maps = {} if why is None else why.stain_maps
        losses = {} if why is None else why.stain_losses
        largest = _largest(maps.values())
        self.show_pictures(
            [
                (
                    _until_known(f"{name}  {losses[name]:+.1f}" if name in losses else name, maps),
                    difference_on_cell(cell, maps.get(name, _nothing(card)) / largest),
                )
                for name in names
            ]
        )


class ClassMaps(Pictures):
    """What speaks for and against the most probable classes."""

    def __init__(self) -> None:
        super().__init__(_SMALL, 3, "Each class rather than the mean of all")
        self.setToolTip(
            "Orange speaks for the class, blue against it, compared with the mean score of all "
            "classes; the most probable classes, on one scale. Orange in an improbable class is "
            "outweighed by its blue."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        cell, largest = _composite(card), _largest(card.class_maps.values())
        self.show_pictures(
            [
                (
                    _until_known(name, card.class_maps),
                    difference_on_cell(cell, card.class_maps.get(name, _nothing(card)) / largest),
                )
                for name in card.probable_classes
            ]
        )


class Probabilities(Bars):
    """Calibrated probability of each class."""

    def __init__(self) -> None:
        super().__init__("{:.0f} %", "Probability")
        self.setToolTip("Calibrated: of cells called with 80 %, about 80 % are right.")

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.show_values({name: 100 * p for name, p in card.probabilities.items()}, colours)


class Exactness(WrappedLabel):
    """Estimated error of the maps, and what the card is about."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "Maps are integrals, computed to about 10 %. The error is estimated, relative to the "
            "map itself. It says how well the network is explained, not whether it is right."
        )

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        about = f"Cell {card.label} of {card.image}, model {card.model}."
        if card.settings:
            about += f" Explained by choice: {card.settings}."
        if card.difference is None:
            self.setText(f"Explaining...<br><br>{about}")
            return
        # Reserves the place of the second number: nothing may jump.
        of_classes = _percent(card.class_error) if card.class_maps else "..."
        self.setText(
            f"Estimated error: {_percent(card.difference.error)} of the difference map, "
            f"{of_classes} of the strongest class map.<br>{about}"
        )


# From top to bottom. Before the first click only the headline is shown.
PANELS: tuple[type[CardPanel], ...] = (
    Headline,
    Why,
    Sentence,
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
        self.panels = [panel() for panel in PANELS]
        for panel in self.panels:
            inner.addWidget(panel)
            panel.setVisible(isinstance(panel, Headline))
        self._other = NarrowComboBox()
        self._other.setToolTip("The class to compare the call with.")
        self._other.activated.connect(lambda _: self.compared.emit(self._other.currentData()))
        self.export = CardExport(self._content, lambda: self.shown)
        row = QHBoxLayout()
        row.addWidget(self._other, 1)
        row.addWidget(self.export)
        column.addLayout(row)
        column.addWidget(self._content)
        self._tools = (self._other, self.export)
        column.addStretch()
        self.clear()

    def clear(self) -> None:
        """Show no cell."""
        self.shown = None
        for panel in self.panels:
            panel.setVisible(isinstance(panel, Headline))
            if isinstance(panel, WrappedLabel):
                panel.setText(_NOTHING_YET if isinstance(panel, Headline) else "")
        for tool in self._tools:
            tool.setVisible(False)

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Draw a card; ``colours`` are those of the classes."""
        self.shown = card
        shown = [p for p in self.panels if card.predicted or isinstance(p, Headline | Why)]
        for panel in shown:
            panel.show_card(card, colours)
        for panel in self.panels:
            panel.setVisible(panel in shown)
        if card.predicted:
            self._offer_classes(card)
        self._other.setVisible(bool(card.predicted))
        self.export.setVisible(True)

    def _offer_classes(self, card: CellCard) -> None:
        names = [name for name in card.probabilities if name != card.predicted]
        if [self._other.itemData(i) for i in range(self._other.count())] != names:
            self._other.clear()
            for name in names:
                self._other.addItem(f"rather than {name}", name)
        why = card.difference
        other = card.runner_up if why is None else why.rather_than
        self._other.setCurrentIndex(self._other.findData(other))


def why_text(card: CellCard) -> str:
    """Why a cell has its class and not another, in words made of the card's numbers."""
    why = card.difference
    if why is None:
        return "Explaining..."
    other, share = why.rather_than, card.probabilities[why.rather_than]
    if not why.map.any():
        return (
            f"{card.predicted} ({_percent(card.probability)}) rather than {other} "
            f"({_percent(share)}). The map is empty: on the way from background to the cell the "
            "two scores do not change."
        )
    stain, loss = max(why.stain_losses.items(), key=lambda item: item[1])
    text = (
        f"{card.predicted} ({_percent(card.probability)}) rather than {other} ({_percent(share)}). "
        f"<span style='color:{FOR}'>Orange</span> speaks for {card.predicted}, "
        f"<span style='color:{AGAINST}'>blue</span> for {other}. "
    )
    if len(why.stain_losses) == 1:
        return text
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


def _nothing(card: CellCard) -> NDArray[np.float32]:
    return np.zeros(card.crop.shape[1:], np.float32)


def _largest(maps: Iterable[NDArray[np.float32]]) -> float:
    """Largest absolute value of all maps: the end of their scale."""
    return max((float(np.abs(image).max()) for image in maps), default=0.0) or 1.0


def _until_known(caption: str, maps: Mapping[str, NDArray[np.float32]]) -> str:
    """Caption that says whether the picture shows a map or only the cell so far."""
    return caption if maps else f"{caption} ..."


def _in_its_colour(channels: Sequence[str]) -> list[str]:
    """Names of the stains in the colours of `composite_image`."""
    if len(channels) == 1:
        return list(channels)
    rgb = [[round(255 * part) for part in colour] for colour in CHANNELS.values()]
    return [
        f"<span style='color:rgb({r},{g},{b})'>{name}</span>"
        for name, (r, g, b) in zip(channels, rgb, strict=False)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
