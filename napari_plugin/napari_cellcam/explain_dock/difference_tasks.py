"""Maps of why this and not that: computed when the user chooses one, then shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_cellcam.state.differences import DIFFERENCE, DifferenceMaps, difference_maps
from napari_cellcam.state.evidence import EvidenceMaps

if TYPE_CHECKING:
    from napari_cellcam.explain_dock.evidence_panel import EvidencePanel
    from napari_cellcam.layers.result_layers import ResultLayers
    from napari_cellcam.widgets.status_line import StatusLine
    from napari_cellcam.widgets.task_list import TaskList


class DifferenceTasks(QObject):
    """Computes the maps that the panel wants; the panel returns to its map if they do not come.

    Parameters
    ----------
    panel : where they are chosen
    results : the results that are shown, if there are any
    """

    def __init__(
        self,
        panel: EvidencePanel,
        tasks: TaskList,
        status: StatusLine,
        results: Callable[[], ResultLayers | None],
    ) -> None:
        super().__init__(panel)
        self._panel, self._tasks, self._status, self._results = panel, tasks, status, results
        panel.wanted.connect(self._compute)
        tasks.long_running.connect(self._follow)

    def _compute(self, name: str) -> None:
        """Compute a map for all explained cells; those of all stains are computed at once."""
        results = self._results()
        if results is None or results.evidence is None:
            return
        evidence = results.evidence.evidence
        self._tasks.start(
            "Why this and not that",
            partial(self._show, evidence),
            difference_maps,
            results.session,
            evidence.rows,
            name != DIFFERENCE,
        )

    def _show(self, evidence: EvidenceMaps, found: DifferenceMaps) -> None:
        results = self._results()
        layers = None if results is None else results.evidence
        if layers is None or layers.evidence is not evidence:
            return  # the cells have been explained in another way in the meantime
        layers.add_differences(found.maps, found.typical)
        self._panel.show_computed()
        self._status.setText(
            "Orange speaks for the call of each cell, blue for its runner-up. " + found.text
        )

    def _follow(self, running: bool) -> None:
        if not running:  # once its result was shown
            QTimer.singleShot(0, self._settle)

    def _settle(self) -> None:
        if not self._tasks.runs_long:
            self._panel.settle()
