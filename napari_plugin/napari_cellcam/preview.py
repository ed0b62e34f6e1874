"""The cells that would be found, shown while the user turns the knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from cellcam.errors import CellCamError
from napari_cellcam.sources import place_of, seen_place
from napari_cellcam.work import Task

if TYPE_CHECKING:
    import napari
    import numpy as np
    from napari.layers import Labels
    from numpy.typing import NDArray

    from cellcam.models.spec import ModelSpec
    from napari_cellcam.choice_panel import ChoicePanel
    from napari_cellcam.layer_choices import LayerChoices

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
        self._task: Task | None = None
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
        if self._task is not None:
            self._task.cancel()
            self._task = None
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
        if self._task is not None:
            self._task.cancel()  # only the newest choices count
        place = seen_place(choices.first, choices.axes, self.viewer.dims.point)
        self._task = Task("Looking for cells", lambda found: self._show(choices, *found), soon=True)
        self._task.finished.connect(self._found)
        self._task.failed.connect(self._failed)
        self._task.start(_found_cells, choices, self.panel.spec, place)

    def _found(self, task: Task, result: Any) -> None:
        if task is self._task:
            self._task = None
            task.then(result)

    def _failed(self, task: Task, error: Exception) -> None:
        if task is self._task:
            self.said.emit(str(error))

    def _show(self, choices: LayerChoices, labels: NDArray[np.int32], threshold: float) -> None:
        number = len(set(labels.ravel().tolist()) - {0})
        given = getattr(choices.request.finder, "threshold", None) is not None
        source = "threshold" if given else "automatic threshold"
        self.said.emit(f"{number} cells would be found ({source} {threshold:.5g}).")
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
    choices: LayerChoices, spec: ModelSpec, place: dict[str, int], _: Any
) -> tuple[NDArray[np.int32], float]:
    """Labels of the plane in view, and the threshold taken; a volume is seen from above."""
    from cellcam.cells.finder import FieldView
    from cellcam.cells.threshold_finder import FieldScale
    from cellcam.pipeline.matching import match

    matched = match(choices.stack(), spec, choices.request)
    stack, z = matched.stack, matched.z
    if z is None and stack.data.shape[2] > 1:
        z = place.get("Z", 0)
    view = FieldView.whole(stack, place.get("T", 0), z).with_pixels(matched.finder.channels)
    measured = matched.finder.measure(view)
    assert isinstance(measured, FieldScale)
    labels = matched.finder.label(view, measured)
    return labels.max(axis=0) if labels.ndim == 3 else labels, measured.threshold
