"""The device that computes: what there is, and how much memory it has."""

from __future__ import annotations

import json
from typing import Any

from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_cellcam.child import Command
from napari_cellcam.preferences import preference

# Asked once for all windows: it takes seconds, in a process of its own.
_KNOWN: dict[str, Any] = {}


class DeviceLine(QWidget):
    """A choice of devices with a line about them.

    torch would take seconds to load here, so a child process is asked; until it has answered,
    ``auto`` and ``cpu`` can be chosen.
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.choice = QComboBox()
        self.about = QLabel("Looking for devices...")
        self.about.setWordWrap(True)
        column.addWidget(self.choice)
        column.addWidget(self.about)
        self._question: Command | None = None
        preferred = str(preference("device"))
        for name in dict.fromkeys(["auto", "cpu", preferred]):
            self.choice.addItem(name, name)
        self.choice.setCurrentText(preferred)

    def chosen(self) -> str:
        """Name of the device, or auto."""
        return str(self.choice.currentData())

    def let_go(self) -> None:
        """Stop asking."""
        if self._question is not None and self._question.running:
            self._question.cancel()

    def showEvent(self, event: Any) -> None:  # noqa: N802, D102 - Qt's name
        super().showEvent(event)
        if _KNOWN:
            self._show()
        elif self._question is None:
            self._question = Command("info", "--json")
            self._question.ended.connect(self._answered)

    def _answered(self, status: int, output: str) -> None:
        if status != 0:
            self.about.setText("The devices could not be asked for; auto takes the best.")
            return
        _KNOWN.update(json.loads(output[output.index("{") :]))
        self._show()

    def _show(self) -> None:
        devices = _KNOWN["devices"]
        for name, about in devices.items():
            if self.choice.findData(name) < 0:
                self.choice.addItem(f"{name}: {about}", name)
        automatic = _KNOWN["device auto"]
        self.about.setText(f"auto is {automatic}: {devices.get(automatic, '')}")
