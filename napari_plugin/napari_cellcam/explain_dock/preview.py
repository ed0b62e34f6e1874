"""Outlines of the cells that would be found, updated while the user changes the choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from cellcam.errors import CellCamError
from napari_cellcam.layers.stack_from_layers import layer_placement, plane_in_view
from napari_cellcam.work.tasks import Task

if TYPE_CHECKING:
    import napari
    import numpy as np
    from napari.layers import Labels
    from napari.utils.events import Event
    from numpy.typing import NDArray

    from cellcam.models.network_input import NetworkInput
    from cellcam.progress import Progress
    from napari_cellcam.explain_dock.choice_panel import ChoicePanel
    from napari_cellcam.layers.layer_choices import LayerChoices

    FoundCells = tuple[NDArray[np.int32], float | None]  # labels (Y, X); threshold, if any

# Long enough to type a number, short enough to feel live.
_DELAY_MS = 250
_OUTLINE = 2  # screen pixels


class FindingPreview(QObject):
    """Outlines of the cells in the plane in view, by the present choices.

    Signals
    -------
    message : number of cells and threshold, for the user
    """

    message = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer, panel: ChoicePanel) -> None:
        super().__init__(panel)
        self.viewer, self.panel = viewer, panel
        self.layer: Labels | None = None
        self._task: Task[FoundCells] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._begin)
        panel.changed.connect(self.update)
        viewer.dims.events.point.connect(self._plane_changed)

    def update(self) -> None:
        """Show the cells again after a short delay, or hide them if the preview is off."""
        if self.panel.preview.isChecked():
            self._timer.start()
        else:
            self.hide()

    def hide(self) -> None:
        """Remove the outlines and cancel their computation."""
        self._timer.stop()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = None

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.viewer.dims.events.point.disconnect(self._plane_changed)
        self.hide()

    def _plane_changed(self, _: Event) -> None:
        if self.layer is not None and len(self.panel.axes.text()) > 2:
            self.update()

    def _begin(self) -> None:
        try:
            choices = self.panel.choices()
        except CellCamError:
            return  # the choices are incomplete
        if choices.cells is not None:
            self.hide()
            return
        if self._task is not None:
            self._task.cancel()  # its choices are out of date
        assert self.panel.spec is not None
        plane = plane_in_view(choices.first, choices.axes, self.viewer.dims.point)
        task: Task[FoundCells] = Task(
            "Looking for cells", lambda found: self._show(choices, *found), short=True
        )
        task.finished.connect(self._task_finished)
        task.failed.connect(self._task_failed)
        self._task = task
        task.start(_find_cells, choices, self.panel.spec, plane)

    def _task_finished(self, task: Task[FoundCells], found: FoundCells) -> None:
        if task is self._task:
            self._task = None
            task.on_result(found)

    def _task_failed(self, task: Task[FoundCells], error: Exception) -> None:
        if task is self._task:
            self.message.emit(str(error))

    def _show(
        self, choices: LayerChoices, labels: NDArray[np.int32], threshold: float | None
    ) -> None:
        n_cells = len(set(labels.ravel().tolist()) - {0})
        by_hand = getattr(choices.request.finder, "threshold", None) is not None
        source = "threshold" if by_hand else "automatic threshold"
        how = "" if threshold is None else f" ({source} {threshold:.5g})"
        self.message.emit(f"{n_cells} cells would be found{how}.")
        if self.layer is None or self.layer not in self.viewer.layers:
            placement = layer_placement(choices.first, choices.axes, "YX")
            # Set before the layer is added: adding it makes the panels read it, see `is_result`.
            metadata = {"cellcam": {"preview": True}}
            self.layer = self.viewer.add_labels(
                labels, name="cells to be found", metadata=metadata, **placement
            )
            self.layer.contour = _OUTLINE
            self.layer.editable = False
        else:
            self.layer.data = labels


def _find_cells(
    choices: LayerChoices, spec: NetworkInput, plane: dict[str, int], _: Progress
) -> FoundCells:
    """Labels (Y, X) of the plane in view, of a volume the maximum over z; the threshold, if any."""
    from cellcam.cells.finder import FieldView
    from cellcam.pipeline.find_field import with_fill
    from cellcam.pipeline.matching import match

    matched = match(choices.stack(), spec, choices.request)
    stack, z = matched.stack, matched.z
    if z is None and stack.data.shape[2] > 1:
        z = plane.get("Z", 0)
    view = FieldView.whole(stack, plane.get("T", 0), z)
    view = with_fill(view.with_pixels([*matched.channels, *matched.finder.channels]), matched)
    measured = matched.finder.measure(view)
    labels = matched.finder.label(view, measured)
    return labels.max(axis=0) if labels.ndim == 3 else labels, getattr(measured, "threshold", None)
