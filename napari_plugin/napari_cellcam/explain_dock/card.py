"""The card of one cell, panel by panel. A new panel: one class here, and a line in `PANELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from cellcam.reporting.colours import under_importance_on_card
from napari_cellcam.widgets.charts import Bars, Pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellcam.state.cell_card import CellCard


_NOTHING_YET = "Click a cell to see its class, and the evidence for it."


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


class Evidence(Pictures):
    """The crop, and beside it the crop under the map of each class, most probable first."""

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        from cellcam.reporting.cell_pictures import composite_image

        cell = composite_image(card.crop)
        largest = max((float(image.max()) for image in card.maps.values()), default=0) or 1.0
        names = sorted(card.probabilities, key=card.probabilities.__getitem__, reverse=True)
        nothing = np.zeros(cell.shape[:2], np.float32)
        maps = [(name, card.maps.get(name, nothing) / largest) for name in names]
        self.show_pictures(
            [("the cell", cell), *((name, _under_map(cell, image)) for name, image in maps)]
        )


class RunnerUp(TextPanel):
    """Caption of the pictures, and the second most probable class."""

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.setText(
            "The evidence for each class, all on one scale. "
            f"The second most probable class is {card.runner_up}."
        )


class Probabilities(Bars):
    """Calibrated probability of each class."""

    def __init__(self) -> None:
        super().__init__("{:.0%}", "Probability")

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.show_values(card.probabilities, colours)


class ChannelShares(Bars):
    """Channel share of each stain."""

    def __init__(self) -> None:
        super().__init__("{:+.2f}", "Loss of the class score without each stain")

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        self.show_values(card.shares or dict.fromkeys(card.channels, 0.0), {})


class Exactness(TextPanel):
    """Estimated error of the maps."""

    def show_card(self, card: CellCard, _: Mapping[str, str]) -> None:  # noqa: D102 - see CardPanel
        error = f"Estimated error of the maps: {card.error:.1%} of the strongest map."
        self.setText(error if card.maps else "Explaining...")


# From top to bottom. Before the first click only the headline is shown.
PANELS: tuple[type[CardPanel], ...] = (
    Headline,
    Evidence,
    RunnerUp,
    Probabilities,
    ChannelShares,
    Exactness,
)


class CellCardView(QWidget):
    """Shows one `CellCard` after the other.

    Its panels stay and get new contents: with new panels the whole window would be laid out and
    drawn again, which takes longer than the card.
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._panels = [panel() for panel in PANELS]
        for panel in self._panels:
            column.addWidget(panel)
            panel.setVisible(isinstance(panel, Headline))
        column.addStretch()

    def clear(self) -> None:
        """Show no cell."""
        for panel in self._panels:
            panel.setVisible(isinstance(panel, Headline))
            if isinstance(panel, Headline):
                panel.setText(_NOTHING_YET)

    def show_card(self, card: CellCard, colours: Mapping[str, str]) -> None:
        """Draw a card; ``colours`` are those of the classes."""
        for panel in self._panels:
            panel.show_card(card, colours)
        for panel in self._panels:
            panel.setVisible(True)


def _under_map(cell: NDArray[np.float32], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey cell under its importance in yellow and red; without importance it stays grey."""
    grey = np.repeat(0.6 * cell.mean(axis=2, keepdims=True), 3, axis=2)
    return under_importance_on_card(grey, importance)
