"""The card of a cell: the difference map comes first, the other maps a moment later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_cellcam.state.cell_card import (
    CellCard,
    brief_card,
    compared_card,
    completed_card,
    explained_card,
)

if TYPE_CHECKING:
    from cellcam.progress import Progress
    from napari_cellcam.explain_dock.card import CellCardView
    from napari_cellcam.explain_dock.class_panel import ClassPanel
    from napari_cellcam.layers.result_layers import ResultLayers
    from napari_cellcam.state.session import Session
    from napari_cellcam.widgets.task_list import TaskList


class CardTasks(QObject):
    """Computes cards and shows them, as long as their results are the ones that are shown.

    Parameters
    ----------
    view : where cards are shown
    classes : shows the same cell in small
    results : the results that are shown, if there are any
    """

    def __init__(
        self,
        view: CellCardView,
        classes: ClassPanel,
        tasks: TaskList,
        results: Callable[[], ResultLayers | None],
    ) -> None:
        super().__init__(view)
        self._view, self._classes, self._tasks, self._results = view, classes, tasks, results
        view.compared.connect(self._compare)

    def show_cell(self, session: Session, row: int) -> None:
        """Show what is known of a cell at once, and its maps when they are computed."""
        card = brief_card(session, row)
        if session.model is None:
            self._classes.show_cell(card)
            return
        self._show(card)
        self._tasks.cancel_short()  # the card of another cell, which is no longer shown
        if card.predicted:
            self._compute(session, partial(explained_card, session, row, None))

    def explain_again(self, session: Session) -> None:
        """Compute the card that is shown again, in the way that is chosen now."""
        card = self._view.shown
        if card is None:
            return
        self._show(brief_card(session, card.row))
        if card.predicted:
            other = None if card.difference is None else card.difference.rather_than
            self._compute(session, partial(explained_card, session, card.row, other))

    def _compare(self, rather_than: str) -> None:
        """Compare the call of the cell on the card with another class."""
        results, card = self._results(), self._view.shown
        if results is not None and card is not None:
            self._tasks.cancel_short()
            session = results.session
            self._compute(session, partial(compared_card, session, card, rather_than))

    def _compute(self, session: Session, work: Callable[[Progress], CellCard]) -> None:
        def show(card: CellCard) -> None:
            results = self._results()
            if results is not None and session is results.session:
                self._show(card)
                more = partial(completed_card, session, card)
                self._tasks.start("Explaining a cell further", self._show, more, short=True)

        self._tasks.start("Explaining a cell", show, work, short=True)

    def _show(self, card: CellCard) -> None:
        results = self._results()
        if results is not None:
            self._view.show_card(card, results.colours)
            self._classes.show_cell(card)
