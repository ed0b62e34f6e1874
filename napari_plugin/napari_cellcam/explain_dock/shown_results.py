"""The results on the screen: always those of the present choices, never those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from cellcam.errors import CellCamError
from cellcam.models.network_input import ClassifierDraft
from napari_cellcam.explain_dock.kept_results import KeptResults
from napari_cellcam.layers.layer_revisions import LayerRevisions
from napari_cellcam.layers.result_layers import ResultLayers
from napari_cellcam.layers.viewer_state import view_kept
from napari_cellcam.work.tasks import StepTimer

if TYPE_CHECKING:
    import napari

    from napari_cellcam.explain_dock.choice_panel import ChoicePanel
    from napari_cellcam.explain_dock.explanation_panel import ExplanationPanel
    from napari_cellcam.layers.layer_choices import LayerChoices
    from napari_cellcam.state.evidence import EvidenceMaps
    from napari_cellcam.state.origin import Origin
    from napari_cellcam.state.session import Session
    from napari_cellcam.widgets.task_list import TaskList

_END = object()


class ShownResults(QObject):
    """Shows results, puts them away when the choices change, and shows them again.

    Parameters
    ----------
    viewer : where their layers are
    choices, explaining : what is chosen now
    tasks : cancelled when results are put away
    panels_follow : shows new evidence in the panels, step by step

    Attributes
    ----------
    results : the results that are shown, or None
    session : the session of these results, or None

    Signals
    -------
    found : cells were found that were not shown before
    exchanged : other results are shown, or none
    evidence_dropped : evidence was put away or exchanged for that of the present choice
    message : what happened, in words
    """

    found = Signal()
    exchanged = Signal()
    evidence_dropped = Signal()
    message = Signal(str)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        choices: ChoicePanel,
        explaining: ExplanationPanel,
        tasks: TaskList,
        panels_follow: Callable[[], Iterator[None]],
    ) -> None:
        super().__init__(choices)
        self.session: Session | None = None
        self.results: ResultLayers | None = None
        self._viewer, self._choices, self._explaining = viewer, choices, explaining
        self._tasks, self._panels_follow = tasks, panels_follow
        self._kept = KeptResults()
        self._revisions = LayerRevisions(self._layer_changed)
        self._steps = StepTimer(self)  # adds layers one by one
        explaining.changed.connect(self.follow_explaining)

    @property
    def appearing(self) -> bool:
        """Whether layers are still being added."""
        return self._steps.isActive()

    def release(self) -> None:
        """Disconnect from the layers, and stop adding some."""
        self._revisions.release()
        self._steps.stop()

    def origin_of(self, choices: LayerChoices) -> Origin:
        """What results of these choices are about, as their layers are now."""
        return choices.origin(self._revisions.state)

    def show_session(self, choices: LayerChoices, session: Session) -> None:
        """Show cells that were found, unless the choices have changed in the meantime."""
        if self._is_outdated(session):
            return
        self._steps.begin(self._session_steps(choices, session))

    def show_evidence(self, session: Session, evidence: EvidenceMaps) -> None:
        """Show maps of a session, unless other cells have been classified in the meantime."""
        if session is self.session and self.results is not None:
            self._steps.begin(self._evidence_steps(session, self.results, evidence))

    def follow_choices(self) -> None:
        """Put results away that are about other choices; show those about these again."""
        origin = self._present_origin()
        if self.session is not None and self.session.origin != origin:
            self._put_away(self.session.origin.difference(origin))
        kept = self._kept.take(origin) if self.session is None else None
        if kept is None:
            return
        evidence = kept.explain_as(self._explaining.choices())
        with view_kept(self._viewer):
            kept.show_again()
        self._exchange(kept)
        self._show_again(evidence)
        self.message.emit("These are the results of before, for the same choices.")

    def follow_explaining(self) -> None:
        """Put evidence away that was computed in another way than is chosen now."""
        results = self.results
        if results is None:
            return
        self._tasks.cancel()
        self._steps.stop()
        had_evidence = results.evidence is not None
        evidence = results.explain_as(self._explaining.choices())
        self.evidence_dropped.emit()
        self._show_again(evidence)
        if had_evidence and evidence is None:
            self.message.emit(
                "The evidence was put away: it was computed in another way. Explain again; it "
                "comes back when the choice is changed back."
            )

    def _session_steps(self, choices: LayerChoices, session: Session) -> Iterator[None]:
        """Show a session step by step: napari takes a tenth of a second for each."""
        with view_kept(self._viewer):
            if self.results is not None:
                self.results.remove()
            self.session = self.results = None
            results = ResultLayers(self._viewer, session, choices.first, choices.axes)
        yield
        if self._is_outdated(session):
            _remove_layers(self._viewer, results)
            return
        results.add()
        yield
        results.explain_as(self._explaining.choices())
        if isinstance(session.spec, ClassifierDraft):
            self._choices.keep_draft(session.spec)
        self._exchange(results)
        self.message.emit(_found_text(session))
        if len(session.table):
            self.found.emit()
        yield
        for _ in results.appear():
            yield

    def _evidence_steps(
        self, session: Session, results: ResultLayers, evidence: EvidenceMaps
    ) -> Iterator[None]:
        """Show the evidence step by step; stop if other cells are classified in between."""
        steps = results.show_evidence(evidence)
        while True:
            with view_kept(self._viewer):
                if next(steps, _END) is _END:
                    break
            yield
            if session is not self.session:
                return
        session.table = evidence.table
        yield from self._panels_follow()
        self.message.emit(
            f"{evidence.n_explained} of {len(session.table)} cells are explained. Bright is what "
            "speaks for the class. E switches between evidence and image."
        )

    def _exchange(self, results: ResultLayers | None) -> None:
        """Have other results, whose layers are in the viewer, or none."""
        self.results = results
        self.session = None if results is None else results.session
        self.exchanged.emit()

    def _show_again(self, evidence: EvidenceMaps | None) -> None:
        """Show evidence that was put away, if there is any."""
        if evidence is not None and self.session is not None:
            self.show_evidence(self.session, evidence)

    def _put_away(self, what: str) -> None:
        """Take the results off the screen, and say why."""
        results = self.results
        assert results is not None
        name = results.session.origin.image.name
        self._tasks.cancel()
        self._steps.stop()
        self._kept.keep(results)
        self._kept.drop_without(str(layer.unique_id) for layer in self._viewer.layers)
        self._exchange(None)
        # In a callback of the layer list, other layers cannot be removed safely.
        QTimer.singleShot(0, partial(_remove_layers, self._viewer, results))
        self.message.emit(
            f"The results for {name} were put away: {what} has changed. They come back when it is "
            "changed back."
        )

    def _is_outdated(self, session: Session) -> bool:
        """Whether a session is about other choices than the present, which is then said."""
        if session.origin == self._present_origin():
            return False
        self.message.emit("The choices have changed in the meantime. Try again.")
        return True

    def _present_origin(self) -> Origin | None:
        """What results of the present choices are about; None if a choice is missing."""
        try:
            return self.origin_of(self._choices.choices())
        except CellCamError:
            return None

    def _layer_changed(self) -> None:
        self._choices.refresh_unit()
        self.follow_choices()


def _found_text(session: Session) -> str:
    """How many cells there are, and what to do next."""
    n = len(session.table)
    if not n:
        return "No cells were found. Give their diameter, or choose a labels layer."
    if session.model is None:
        return (
            f"{n} cells. Click a cell, then its class or press the number of the class. "
            "Some cells of each class are enough to begin with."
        )
    counts = session.table["class"].value_counts()
    parts = [f"{count} {name}" for name, count in counts.items()]
    if without := int((~session.can_be_called).sum()):
        parts.append(f"{without} without a call (see flags)")
    listed = ", ".join(parts)
    return f"{n} cells: {listed}. Click a cell, or sort by margin."


def _remove_layers(viewer: napari.viewer.Viewer, results: ResultLayers) -> None:
    """Remove the layers of results that are not shown, unless they came back already."""
    with view_kept(viewer):
        results.remove()
