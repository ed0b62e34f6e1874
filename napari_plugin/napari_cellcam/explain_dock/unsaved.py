"""Asks before corrections that are not on disk would be lost.

Every change is written at once, so this happens only where writing fails: a full disk, a folder
that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

if TYPE_CHECKING:
    from napari_cellcam.state.project import Project


def may_be_left(project: Project, parent: QWidget) -> bool:
    """Whether a project can be left: its corrections are on disk, or the user gives them up."""
    if project.corrections.unwritten:
        project.corrections.write()  # the disk may have room again
    while project.corrections.unwritten:
        answer = _ask(project, parent)
        if answer is None:
            return False
        if answer == Path():
            return True
        project.move(answer)
    return True


def _ask(project: Project, parent: QWidget) -> Path | None:
    """Another folder for the project; ``Path()`` to give it up; None to stay."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("Corrections are not saved")
    box.setText(
        f"{len(project.corrections)} corrected cells are not on disk. "
        f"{project.corrections.unwritten}"
    )
    roles = QMessageBox.ButtonRole
    elsewhere = box.addButton("Save elsewhere...", roles.AcceptRole)
    give_up = box.addButton("Give them up", roles.DestructiveRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    if box.clickedButton() is give_up:
        return Path()
    if box.clickedButton() is elsewhere:
        chosen = QFileDialog.getExistingDirectory(parent, "Folder for the corrections")
        return Path(chosen) / project.folder.name if chosen else None
    return None


class CloseQuestion(QObject):
    """Asks before the window of a widget closes.

    Parameters
    ----------
    owner : a widget in the window
    may_close : asked when the window is about to close
    """

    def __init__(self, owner: QWidget, may_close: Callable[[], bool]) -> None:
        super().__init__(owner)
        self._owner, self._may_close = owner, may_close
        self._window: QWidget | None = None

    def watch(self) -> None:
        """Watch the window that the widget is in now."""
        window = self._owner.window()
        if window is not self._window:
            self.release()
            self._window = window
            window.installEventFilter(self)

    def release(self) -> None:
        """Watch no more."""
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def eventFilter(self, _: QObject, event: QEvent) -> bool:  # noqa: N802, D102 - Qt's name
        if event.type() == QEvent.Type.Close and not self._may_close():
            event.ignore()
            return True
        return False
