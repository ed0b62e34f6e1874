"""The project that is open: going on with another one, and writing down what is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton

from cellcam.errors import CellCamError
from napari_cellcam.explain_dock.unsaved import may_be_left
from napari_cellcam.layers.stack_layers import cellcam_metadata
from napari_cellcam.state.project import Project, missing_files
from napari_cellcam.widgets.preferences import projects_folder

if TYPE_CHECKING:
    import napari

    from napari_cellcam.explain_dock.choice_panel import ChoicePanel
    from napari_cellcam.explain_dock.explanation_panel import ExplanationPanel


class ProjectButton(QPushButton):
    """Goes on with an earlier project; every project is written as one works.

    Parameters
    ----------
    viewer : where images are opened
    choices, explaining : what is chosen, as the project remembers it

    Signals
    -------
    exchanged : another project is open now
    message : something to tell the user
    failed : an error that says why a project cannot be opened
    """

    exchanged = Signal()
    message = Signal(str)
    failed = Signal(object)

    def __init__(
        self, viewer: napari.viewer.Viewer, choices: ChoicePanel, explaining: ExplanationPanel
    ) -> None:
        super().__init__("Project...")
        self._viewer, self._choices, self._explaining = viewer, choices, explaining
        self.project = Project.new(projects_folder())
        self.setToolTip(
            "Go on with an earlier project: its images, corrections and models. Every project is "
            "written as you work."
        )
        self.clicked.connect(self._ask)

    def may_be_left(self) -> bool:
        """Whether the open project can be left; the user is asked where something would be lost."""
        return may_be_left(self.project, self)

    def open_project(self, folder: Path) -> None:
        """Go on with a project: its corrections, and what was open.

        Raises
        ------
        InputError
            If the folder is no project.
        """
        project, opened = Project.open(folder)
        self.use(project)
        missing = missing_files(opened.images)
        there = {cellcam_metadata(layer).get("path") for layer in self._viewer.layers}
        for path in opened.images:
            if path not in missing and path not in there:
                self._viewer.open(path, plugin="cellcam")
        if opened.model and Path(opened.model).is_dir():
            self._choices.choose_model(opened.model)
            self._explaining.choose(opened.explaining)
        elif opened.draft is not None:
            self._choices.restore_draft(opened.draft, opened.layers)
        self._choices.choose_layers(opened.layers)
        if opened.planes:
            self._choices.planes.choose(opened.planes)
        gone = f" Not found any more: {', '.join(missing)}." if missing else ""
        n = len(project.corrections)
        self.message.emit(f"Project {folder.name}: {n} corrected cells.{gone}")

    def use(self, project: Project) -> None:
        """Work on another project from now on."""
        self.project = project
        self.exchanged.emit()

    def remember(self) -> None:
        """Write down what is open, once there is something worth it."""
        if not (self.project.corrections or self.project.folder.exists()):
            return
        opened = replace(self._choices.opened(), explaining=self._explaining.choices())
        try:
            self.project.remember(opened)
        except OSError as error:
            reason = error.strerror or error
            self.message.emit(f"{self.project.folder} cannot be written: {reason}.")

    def _ask(self) -> None:
        if not self.may_be_left():
            return
        start = str(projects_folder())
        folder = QFileDialog.getExistingDirectory(self, "Open a project", start)
        if folder:
            try:
                self.open_project(Path(folder))
            except CellCamError as error:
                self.failed.emit(error)
