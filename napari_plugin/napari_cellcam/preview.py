"""The cells that would be found, shown while the user turns the knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from cellcam.errors import CellCamError
from napari_cellcam.sources import place_of, seen_place
from napari_cellcam.work import Job

if TYPE_CHECKING:
    import napari
    import numpy as np
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_cellcam.choice_panel import ChoicePanel
    from napari_cellcam.choices import Choices

# Long enough for a number to be typed, short enough to feel live.
_AFTER_MS = 250
_OUTLINE = 2  # screen pixels


class FindingPreview(QObject):
    """Outlines of the cells in the plane that is seen, by the choices as they stand.

    Signals
    -------
    said : how many cells, and the threshold that was taken
    """

    said = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer, panel: ChoicePanel) -> None:
        super().__init__(panel)
        self.viewer, self.panel = viewer, panel
        self.layer: Labels | None = None
        self._job: Job | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AFTER_MS)
        self._timer.timeout.connect(self._begin)
        panel.changed.connect(self.update)
        viewer.dims.events.point.connect(self._moved)

    def update(self) -> None:
        """Show the cells anew in a moment, or nothing where no preview is wanted."""
        if self.panel.preview.isChecked():
            self._timer.start()
        else:
            self.hide()

    def hide(self) -> None:
        """Take the outlines away, and forget those that are being computed."""
        self._timer.stop()
        if self._job is not None:
            self._job.cancel()
            self._job = None
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = None

    def let_go(self) -> None:
        """Let go of the viewer."""
        self.viewer.dims.events.point.disconnect(self._moved)
        self.hide()

    def _moved(self, _: Any = None) -> None:
        if self.layer is not None and len(self.panel.axes.text()) > 2:
            self.update()

    def _begin(self) -> None:
        try:
            choices = self.panel.choices()
        except CellCamError:
            return  # not all is chosen yet
        if choices.cells is not None:
            self.hide()
            return
        if self._job is not None:
            self._job.cancel()  # only the newest choices count
        place = seen_place(choices.first, choices.axes, self.viewer.dims.point)
        self._job = Job("Looking for cells", lambda found: self._show(choices, *found), soon=True)
        self._job.finished.connect(self._found)
        self._job.failed.connect(self._failed)
        self._job.start(_found_cells, choices, self.panel.spec, place)

    def _found(self, job: Job, result: Any) -> None:
        if job is self._job:
            self._job = None
            job.then(result)

    def _failed(self, job: Job, error: Exception) -> None:
        if job is self._job:
            self.said.emit(str(error))

    def _show(self, choices: Choices, labels: NDArray[np.int32], threshold: float) -> None:
        number = len(set(labels.ravel().tolist()) - {0})
        how = "threshold" if choices.threshold is not None else "threshold by itself:"
        self.said.emit(f"{number} cells would be found ({how} {threshold:.5g}).")
        if self.layer is None or self.layer not in self.viewer.layers:
            place = place_of(choices.first, choices.axes, "YX")
            about = {"cellcam": {"preview": True}}  # from the start: others look at it when added
            self.layer = self.viewer.add_labels(
                labels, name="cells to be found", metadata=about, **place
            )
            self.layer.contour = _OUTLINE
            self.layer.editable = False
        else:
            self.layer.data = labels


def _found_cells(
    choices: Choices, spec: Any, place: dict[str, int], _: Any
) -> tuple[NDArray[np.int32], float]:
    """Labels of the plane that is seen, and the threshold taken; a volume is seen from above."""
    from cellcam.cells.finding import find_cells, find_threshold
    from cellcam.pipeline.matching import field_seen, finding_choices

    stack = choices.stack()
    z = field_seen(stack, spec, choices.z)
    z = place.get("Z", 0) if z is None and stack.data.shape[2] > 1 else z
    how = finding_choices(stack, spec, None, choices.find_channel, choices.diameter_um)
    how |= {"t": place.get("T", 0), "z": z}
    threshold = choices.threshold
    if threshold is None:
        threshold = find_threshold(stack, **how)
    labels = find_cells(stack, threshold=threshold, **how)
    return labels.max(axis=0) if labels.ndim == 3 else labels, threshold
