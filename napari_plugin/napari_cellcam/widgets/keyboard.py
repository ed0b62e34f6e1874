"""Keys of a dock widget that also work while the canvas has the focus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from napari_cellcam.widgets.docking import dock_of

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

_EDITORS = (QLineEdit, QAbstractSpinBox, QPlainTextEdit, QTextEdit)


class KeyAction(NamedTuple):
    """A key and what it does.

    Attributes
    ----------
    key : the key as text, such as ``"N"`` or ``"Ctrl+Z"``
    meaning : what it does, for the user
    act : does it
    """

    key: str
    meaning: str
    act: Callable[[], object]


class DockKeys(QObject):
    """Keys for the dock and for the canvas of its window.

    napari gives keys to the active layer first, so a binding of the viewer would be hidden by the
    tools of a labels layer. This filter sees keys before napari does.

    Parameters
    ----------
    owner : widget inside the dock
    actions : all keys
    is_active : whether the keys mean something at the moment; otherwise napari gets them
    """

    def __init__(
        self,
        owner: QWidget,
        actions: Sequence[KeyAction],
        is_active: Callable[[], bool],
    ) -> None:
        super().__init__(owner)
        self._owner, self._is_active = owner, is_active
        self.actions = tuple(actions)
        self._by_key = {action.key: action.act for action in actions}
        QApplication.instance().installEventFilter(self)

    def release(self) -> None:
        """Give the keys back to napari."""
        QApplication.instance().removeEventFilter(self)

    def eventFilter(self, target: QObject, event: QEvent) -> bool:  # noqa: N802, D102 - Qt's name
        kinds = QEvent.Type
        if event.type() not in (kinds.KeyPress, kinds.ShortcutOverride):
            return False
        action = self._by_key.get(_key_text(event))
        if action is None or not self._is_for_us(target) or not self._is_active():
            return False
        event.accept()  # of a menu's shortcut: the key comes again as a key press
        if event.type() == kinds.KeyPress:
            action()
        return True

    def _is_for_us(self, target: QObject) -> bool:
        """Whether a key goes to this dock or to the canvas, and not where text is written."""
        if not isinstance(target, QWidget) or QApplication.activeModalWidget() is not None:
            return False
        is_editor = isinstance(target, _EDITORS) or (
            isinstance(target, QComboBox) and target.isEditable()
        )
        if is_editor or target.window() is not self._owner.window():
            return False
        return self._owner.isAncestorOf(target) or target is self._owner or not dock_of(target)


def _key_text(event: QKeyEvent) -> str:
    """The key with Ctrl and Shift, such as ``Ctrl+Shift+Z``; a keypad's digits are digits."""
    modifiers, held = event.modifiers(), ""
    if modifiers & (Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier):
        return ""
    if modifiers & Qt.KeyboardModifier.ControlModifier:
        held += "Ctrl+"
    if modifiers & Qt.KeyboardModifier.ShiftModifier:
        held += "Shift+"
    return held + str(QKeySequence(event.key()).toString())
